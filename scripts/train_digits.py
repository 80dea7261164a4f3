"""Train a small CNN on the 1,797 digits inside the package, then look at its mistakes.

python scripts/train_digits.py [--epochs 12]
"""

import argparse

import minicnn as mc


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=12)
    epochs = parser.parse_args().epochs

    digits = mc.datasets.load_digits()
    train, test = mc.datasets.stratified_split(digits.labels, 0.2, seed=0)
    x, y, xt, yt = (
        digits.images[train],
        digits.labels[train],
        digits.images[test],
        digits.labels[test],
    )

    model = mc.Sequential(
        mc.Conv2d(1, 16, 3, padding=1), mc.BatchNorm2d(16), mc.ReLU(), mc.MaxPool2d(2),
        mc.Conv2d(16, 32, 3, padding=1), mc.BatchNorm2d(32), mc.ReLU(), mc.MaxPool2d(2),
        mc.Flatten(), mc.Dropout(0.2), mc.Linear(128, 10),
        seed=0,
    )  # fmt: skip
    print(model.summary((1, 8, 8)))

    optimizer = mc.AdamW(model.parameters(), lr=2e-3)
    schedule = mc.CosineAnnealingLR(optimizer, T_max=epochs)
    history = model.fit(
        x, y, epochs=epochs, batch_size=32, optimizer=optimizer, schedule=schedule,
        validation_data=(xt, yt),
    )  # fmt: skip
    print(history)

    guesses = model.predict(xt)
    wrong = (guesses != yt).nonzero()[0]
    print(f"\n{len(wrong)} of {len(yt)} test digits are wrong; the first of them:")
    for i in wrong[:3]:
        print(f"\ntruth {yt[i]}, guess {guesses[i]}")
        for row in xt[i, 0]:
            print("".join(" .:-=+*#%@"[int(value) * 9 // 255] * 2 for value in row))


if __name__ == "__main__":
    main()
