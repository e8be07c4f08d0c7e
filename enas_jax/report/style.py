"""The style of pages: light or dark as the reader's system is."""

# c0 to c5 are the colours of lines, d0 and up their dashes. Every colour of
# text or of a line has a contrast of 4.5 to its ground at least.
CSS = """
:root {
  --ground: #ffffff; --raised: #f4f6f8; --ink: #1b1f24; --faint: #57606a;
  --rule: #d5dbe1; --link: #0a58b5; --warn: #8a4600; --warned: #fff4e0;
  --shade: rgb(0 0 0 / .3);
  --c0: #0b62c4; --c1: #b54708; --c2: #1a7f37; --c3: #7a45d6;
  --c4: #b3236f; --c5: #0e7a86;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0f1419; --raised: #1a2129; --ink: #e6edf3; --faint: #9dabb8;
    --rule: #333c46; --link: #7cb8ff; --warn: #ffc978; --warned: #33260f;
    --shade: rgb(255 255 255 / .3);
    --c0: #6cb6ff; --c1: #ffa657; --c2: #57d27a; --c3: #c8a1ff;
    --c4: #ff8fc7; --c5: #5fd4e0;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
main { max-width: 76rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; margin: .5rem 0; line-height: 1.25; }
h2 { font-size: 1.25rem; margin: 2.25rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0; }
section > h3 { margin-top: 1.5rem; }
p { margin: .5rem 0; max-width: 46rem; }
a { color: var(--link); }
a:focus-visible, summary:focus-visible, .wide:focus-visible {
  outline: 3px solid var(--link); outline-offset: 2px;
}
nav ul {
  display: flex; flex-wrap: wrap; gap: .25rem 1rem; padding: 0;
  list-style: none;
}
nav a { display: inline-block; padding: .25rem 0; }
.note, .notes li {
  color: var(--warn); background: var(--warned); padding: .4rem .7rem;
  border-left: 4px solid currentColor;
}
.notes { list-style: none; padding: 0; }
.notes li { margin: .25rem 0; }
.facts {
  display: grid; gap: .5rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 9.5rem), 1fr));
}
.facts div { background: var(--raised); padding: .5rem .75rem; }
dt { color: var(--faint); font-size: .8125rem; }
dd { margin: 0; font-weight: 600; }
.grid {
  display: grid; gap: 1.5rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 20.5rem), 1fr));
}
figure { margin: 0; min-width: 0; }
figcaption p {
  color: var(--faint); font-size: .8125rem; margin: .125rem 0 .5rem;
}
.legend {
  display: flex; flex-wrap: wrap; gap: .125rem 1rem; list-style: none;
  padding: 0; margin: .25rem 0; font-size: .8125rem;
}
.swatch { width: 28px; height: 10px; margin-right: .375rem; }
details { margin: .5rem 0; }
summary { cursor: pointer; color: var(--link); padding: .25rem 0; }
figure summary { font-size: .8125rem; }
.wide {  /* a shadow lies on the side where there is more */
  overflow-x: auto; max-width: 100%;
  background:
    linear-gradient(to right, var(--ground) 50%, transparent) left,
    linear-gradient(to left, var(--ground) 50%, transparent) right,
    linear-gradient(to right, var(--shade), transparent) left,
    linear-gradient(to left, var(--shade), transparent) right;
  background-attachment: local, local, scroll, scroll;
  background-repeat: no-repeat;
  background-size: 3rem 100%, 3rem 100%, .75rem 100%, .75rem 100%;
}
table { border-collapse: collapse; font-size: .875rem; margin: .5rem 0; }
caption {
  text-align: left; color: var(--faint); font-size: .8125rem;
  padding: .25rem 0;
}
th, td {
  padding: .25rem .625rem .25rem 0; border-bottom: 1px solid var(--rule);
  text-align: left; vertical-align: top; overflow-wrap: normal;
}
thead th { color: var(--faint); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 500; }
.numbers td { font-variant-numeric: tabular-nums; white-space: nowrap; }
.words td { overflow-wrap: anywhere; min-width: 8rem; }
pre {
  background: var(--raised); padding: .75rem; margin: .5rem 0;
  white-space: pre-wrap; font-size: .875rem;
}
svg.plot { display: block; width: 100%; max-width: 30rem; height: auto; }
.plot text { font-size: 11px; fill: var(--faint); }
.line { fill: none; stroke: currentColor; stroke-width: 2; }
.rule { stroke: var(--rule); stroke-width: 1; }
.axis { stroke: var(--faint); stroke-width: 1; }
.clear { fill: transparent; }
.clear:hover { fill: currentColor; fill-opacity: .1; }
.plot circle { fill: currentColor; }
.bar { fill: currentColor; fill-opacity: .55; }
.mark { stroke: var(--ink); stroke-dasharray: 4 3; }
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); }
.c3 { color: var(--c3); } .c4 { color: var(--c4); } .c5 { color: var(--c5); }
.c1.d0 { stroke-dasharray: 7 3; } .c2.d0 { stroke-dasharray: 2 3; }
.c3.d0 { stroke-dasharray: 9 3 2 3; } .c4.d0 { stroke-dasharray: 4 2; }
.c5.d0 { stroke-dasharray: 12 4; } .d1 { stroke-dasharray: 1 3; }
svg.arch { display: block; }
.arch path { stroke: var(--faint); }
.arch marker path { fill: var(--faint); stroke: none; }
.arch text { fill: #1b1f24; }
.arch g > text:first-child { fill: var(--ink); }
.arch rect[fill=white] { fill: var(--ground); stroke: var(--ink); }
.arch rect[fill=white] + text { fill: var(--ink); }
.arch > rect[fill=white] { fill: none; stroke: none; }
footer { color: var(--faint); font-size: .8125rem; margin-top: 3rem; }
@media print { .wide { overflow: visible; } }
"""
