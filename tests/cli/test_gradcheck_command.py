"""`minicnn gradcheck`."""

from minicnn.layers import Linear


def test_gradcheck_prints_a_row_for_every_layer(data, command):
    code, out, err = command("gradcheck", data, "--arch", "mlp", "--samples", "4")
    assert (code, err) == (0, "")
    for row in ("0 Flatten", "1 Linear", "2 ReLU", "3 Linear", "CrossEntropyLoss"):
        assert row in out
    assert "WRONG" not in out


def test_gradcheck_of_a_wrong_gradient_ends_with_4(data, command, monkeypatch):
    right = Linear.backward
    monkeypatch.setattr(Linear, "backward", lambda self, dy: 1.1 * right(self, dy))
    code, out, err = command("gradcheck", data, "--arch", "mlp")
    assert code == 4
    assert "WRONG" in out
    assert err == "minicnn: error: the table shows gradients that are wrong\n"


def test_gradcheck_of_a_net_that_does_not_fit_ends_with_4(data, command):
    code, _, err = command("gradcheck", data, "--arch", "seed")
    assert code == 4 and "layer" in err
