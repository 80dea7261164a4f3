"""The page's looks. Blue and orange stay apart in every common kind of colour blindness."""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --panel: #f5f6f8; --ink: #1a1f25; --faint: #5a6472; --rule: #dfe3e8;
  --a: #0067a8; --b: #c24e00; --hit: 0 103 168; --miss: 194 78 0; --on: #ffffff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --panel: #1d2127; --ink: #e7eaee; --faint: #a2abb7; --rule: #323841;
    --a: #6bb8f2; --b: #f5a256; --hit: 107 184 242; --miss: 245 162 86; --on: #14171b;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif;
  overflow-wrap: anywhere;
}
main { max-width: 66rem; margin: 0 auto; padding: 2.2rem 1.25rem 4rem; }
h1 { font-size: clamp(1.45rem, 4.4vw, 2.1rem); line-height: 1.2; margin: .3rem 0 .5rem;
  font-weight: 650; letter-spacing: -.012em; text-wrap: balance; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 0 0 .35rem; font-weight: 650; }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; font-weight: 650; }
p { margin: .35rem 0 .8rem; max-width: 44rem; }
section { border-top: 1px solid var(--rule); margin-top: 2.2rem; padding-top: 1.5rem; }
.over, .note, figcaption small, .lead { color: var(--faint); }
.over, .note { font-size: .875rem; }
.over { margin: 0; }
.lead { font-size: 1.02rem; }
.state { border-left: 3px solid var(--b); padding: .1rem 0 .1rem .8rem; }
nav { display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; margin-top: 1.3rem; font-size: .9rem; }
a { color: var(--a); text-underline-offset: .18em; text-decoration-thickness: 1px; }
a:focus-visible, .box:focus-visible, summary:focus-visible { outline: 2px solid var(--a); }

dl.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.2rem, 1fr));
  gap: 1.1rem 1.4rem; margin: 1.6rem 0 0; }
dl.facts div { border-top: 2px solid var(--ink); padding-top: .45rem; }
dl.facts dt { font-size: .82rem; color: var(--faint); }
dl.facts dd { margin: 0; font-size: 1.3rem; font-weight: 600; line-height: 1.3;
  font-variant-numeric: tabular-nums; }
dl.facts dd small { display: block; font-size: .82rem; font-weight: 400; color: var(--faint);
  margin-top: .1rem; }

.box { overflow-x: auto; max-width: 100%; margin: .6rem 0 1rem; }
.tall { max-height: 34rem; overflow-y: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .34rem .8rem .34rem 0; text-align: left; vertical-align: top; }
tbody tr { border-top: 1px solid var(--rule); }
thead th { font-weight: 500; color: var(--faint); vertical-align: bottom; white-space: nowrap; }
.tall thead th { position: sticky; top: 0; background: var(--paper); }
tbody th { font-weight: 500; min-width: 5.5rem; max-width: 16rem; }
.n { text-align: right; white-space: nowrap; padding: .34rem 0 .34rem 1.1rem; }
tr.sum { border-top: 2px solid var(--faint); }
.bar { display: inline-block; width: 5rem; height: .5rem; background: var(--rule);
  border-radius: 1px; }
.bar i { display: block; height: 100%; background: var(--a); border-radius: 1px; }
.words td:last-child { white-space: pre-wrap; min-width: 12rem; }

.found { margin: 1.1rem 0 .2rem; }
ul { margin: 0 0 .2rem; padding-left: 1.2rem; }
li small { color: var(--faint); font-size: .86rem; }

.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(18.5rem, 100%), 1fr));
  gap: 1.2rem 1.8rem; margin-top: .9rem; }
figure { margin: 0; }
.charts figure { max-width: 30rem; }
.two figure { max-width: 25rem; }
figcaption { font-size: .875rem; line-height: 1.4; margin-bottom: .3rem; display: flex;
  flex-wrap: wrap; justify-content: space-between; gap: 0 1rem; }
figcaption b { font-weight: 600; }
.legend { display: inline-flex; flex-wrap: wrap; gap: 0 .9rem; color: var(--faint); }
.legend span { white-space: nowrap; }
.swatch { width: 22px; height: 10px; margin-right: .35rem; vertical-align: 0; display: inline; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 11.5px; fill: var(--faint); font-variant-numeric: tabular-nums; }
svg .strong { fill: var(--ink); }
.end { text-anchor: end; } .middle { text-anchor: middle; } .start { text-anchor: start; }
.grid { stroke: var(--rule); } .frame { fill: none; stroke: var(--rule); }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.a { stroke: var(--a); } .b { stroke: var(--b); }
.line.b { stroke-dasharray: 6 4; }
.thin { stroke-width: 1.1; opacity: .7; }
.dot { stroke-width: 1.8; } .dot.a { fill: var(--a); } .dot.b { fill: var(--paper); }
.best { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 1.5 3; }
.ideal { fill: none; stroke: var(--faint); stroke-width: 1.2; stroke-dasharray: 1.5 3; }
.column { fill: var(--a); opacity: .75; }
rect.hit { fill: var(--a); } rect.miss { fill: var(--b); }

.matrix { border-collapse: separate; border-spacing: 2px; }
.matrix td { min-width: 3.1rem; padding: .4rem .45rem; text-align: center; line-height: 1.2;
  white-space: nowrap;
  border-radius: 2px; background: var(--panel); vertical-align: middle; }
.matrix td small { display: block; font-size: .74rem; opacity: .85; }
.matrix th { padding: .3rem .55rem .3rem 0; vertical-align: middle; }
.matrix thead th { text-align: center; vertical-align: bottom; padding: .3rem .3rem; }
.matrix thead th.corner { text-align: left; white-space: nowrap; line-height: 1.35;
  font-size: .78rem; padding-left: 0; }
.matrix tbody th, .matrix .corner { position: sticky; left: 0; background: var(--paper); }
.matrix tbody th { min-width: 0; max-width: 9rem; }
.matrix .steep span { writing-mode: vertical-rl; transform: rotate(180deg); display: inline-block;
  max-height: 9rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.matrix td.none { color: var(--faint); opacity: .6; }
.matrix td.hit { background: rgb(var(--hit) / var(--s)); }
.matrix td.miss { background: rgb(var(--miss) / var(--s)); }
.matrix td.full { color: var(--on); }

.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.2rem, 1fr));
  gap: 1.3rem 1rem; margin-top: .9rem; }
.pairs { grid-template-columns: repeat(auto-fill, minmax(min(17rem, 100%), 1fr)); }
.gallery img { display: block; width: 100%; height: auto; aspect-ratio: 1; object-fit: contain;
  background: var(--panel); border-radius: 3px; }
.pairs img { aspect-ratio: auto; }
.gallery .pixels { image-rendering: pixelated; }
.gallery figcaption { display: block; margin: .45rem 0 0; }
.gallery figcaption small { display: block; font-size: .78rem; }
.wrong { color: var(--b); font-weight: 600; } .right { color: var(--a); font-weight: 600; }

pre { background: var(--panel); padding: .8rem 1rem; border-radius: 4px; overflow-x: auto;
  font: .86rem/1.55 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  margin: .5rem 0 1rem; overflow-wrap: normal; }
summary { cursor: pointer; font-size: .92rem; color: var(--a); margin: .8rem 0; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr));
  gap: 0 2.5rem; align-items: start; }
.two > * { min-width: 0; }
.two th { overflow-wrap: break-word; } .two thead th { white-space: normal; }
footer { color: var(--faint); font-size: .82rem; margin-top: 2.5rem; }
@media (max-width: 30rem) {
  main { padding: 1.4rem 1rem 3rem; }
  .gallery { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .gallery.pairs { grid-template-columns: minmax(0, 1fr); }
  dl.facts { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1rem; }
  dl.facts dd { font-size: 1.12rem; }
  .bar { display: none; }
  table { font-size: .86rem; }
  tbody th { min-width: 4.4rem; }
  .n { padding-left: .6rem; }
  .matrix td { min-width: 2.7rem; padding: .4rem .3rem; }
}
@media print {
  nav { display: none; } .box, .tall { overflow: visible; max-height: none; }
  figure, tr { break-inside: avoid; }
}
"""
