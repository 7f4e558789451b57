"""The style sheet: one set of colours for light and one for dark mode, both told apart by colour-blind readers.

Source of the colours: Okabe and Ito, "Color universal design" (2008), lightened for the dark page.
"""

from __future__ import annotations

__all__ = ["STYLE"]

_LIGHT = ("#0072b2", "#d55e00", "#008a64", "#b8578c", "#b87f00", "#3a97d3", "#76690a", "#8a8f98")
_DARK = ("#58b0ee", "#ff8f52", "#2fc99c", "#e79fc9", "#f0b840", "#a3d9fa", "#d9cc52", "#858b96")
_DASHES = ("", "7 3", "2 2.5", "9 3 2 3", "13 4", "5 2 1.5 2", "1.5 4")

_VARIABLES = """
:root{color-scheme:light dark;--page:#fff;--panel:#f6f7f9;--text:#1a1d23;--soft:#59606b;--rule:#d9dde3;%s}
@media (prefers-color-scheme:dark){:root{--page:#14161a;--panel:#1d2026;--text:#e8eaed;--soft:#a5acb8;--rule:#363b45;%s}
.ink{filter:invert(1)}}
"""

_RULES = """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
header,nav,main,footer{max-width:1200px;margin:0 auto;padding:0 20px}
header{padding-top:28px}
h1{font-size:1.75rem;line-height:1.2;margin:0;overflow-wrap:anywhere}
header p{margin:4px 0 16px;color:var(--soft)}
h2{font-size:1.3rem;margin:44px 0 8px;padding-top:12px;border-top:1px solid var(--rule)}
h3{font-size:1.12rem;margin:32px 0 6px}
h4{font-size:.95rem;font-weight:400;margin:20px 0 6px;overflow-wrap:anywhere}
h4 code{font-weight:600}
section{scroll-margin-top:48px}
a{color:var(--c0)}
nav{position:sticky;top:0;z-index:1;background:var(--page);display:flex;gap:4px 18px;overflow-x:auto;
padding-top:9px;padding-bottom:9px;border-bottom:1px solid var(--rule);white-space:nowrap;font-size:.9rem}
nav a{text-decoration:none}
nav a:hover{text-decoration:underline}
.about{max-width:72ch;color:var(--soft);margin:4px 0 14px}
.note{font-size:.82rem;line-height:1.4;color:var(--soft);margin:6px 0 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px;margin:18px 0}
.tiles div{background:var(--panel);border-radius:8px;padding:12px 14px}
.tiles dt{font-size:.82rem;color:var(--soft)}
.tiles dd{margin:0;font-size:.8rem;line-height:1.35;color:var(--soft)}
.tiles dt+dd{font-size:1.55rem;font-weight:600;line-height:1.3;color:var(--text);white-space:nowrap}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(330px,100%),1fr));gap:16px}
.grid.wide{grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr))}
.grid>.chart{max-width:600px}
figure{margin:0}
.chart{background:var(--panel);border-radius:8px;padding:12px 14px}
.chart>svg{display:block;width:100%;height:auto;margin-top:6px}
.chart figcaption{font-size:.88rem;color:var(--soft);overflow-wrap:anywhere}
.chart figcaption b{color:var(--text)}
svg text{fill:var(--soft);font-size:11px;font-family:inherit}
svg .axis{font-size:11.5px}
svg .mid{text-anchor:middle}
svg .end{text-anchor:end}
svg .halo{fill:var(--text);paint-order:stroke;stroke:var(--panel);stroke-width:3px}
.grid path.grid,path.grid{stroke:var(--rule);stroke-width:1;fill:none}
path.strong{stroke:var(--soft)}
.line{fill:none;stroke-width:2;stroke-linejoin:round}
.fill{stroke:none}
.ribbon{opacity:.42;stroke:none}
.ribbon:hover{opacity:.75}
.rim{fill:var(--page);stroke:var(--rule)}
.net{fill:none;stroke:var(--soft);stroke-width:.5;opacity:.35}.net[class*=" g"]{stroke-width:.7;opacity:.6}
.mark{fill:none;stroke-linecap:round}
.small{stroke-width:3}
.middle{stroke-width:5}
.large{stroke-width:9;opacity:.9}
.legend{display:flex;flex-wrap:wrap;gap:2px 18px;list-style:none;margin:8px 0;padding:0;font-size:.84rem}
.legend li{color:var(--soft)}
.legend li{display:flex;align-items:center;gap:6px;overflow-wrap:anywhere}
.key{width:28px;height:10px;flex:none}
.swatch{width:12px;height:12px;border-radius:3px;flex:none}
.maps{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(180px,42%),1fr));gap:12px}
.map{max-width:300px}
.map img{display:block;width:100%;aspect-ratio:1;image-rendering:pixelated;outline:1px solid var(--soft)}
.map figcaption{font-size:.84rem;color:var(--soft);margin-top:4px}
.scale{display:inline-flex;align-items:center;gap:6px;white-space:nowrap}
.ramp{width:90px;height:10px;background:linear-gradient(90deg,transparent,var(--text));outline:1px solid var(--rule)}
.scroll{overflow-x:auto;margin:14px 0}
table{border-collapse:collapse;font-size:.88rem;min-width:60%}
caption{text-align:left;font-weight:600;padding:4px 0}
caption span{position:sticky;left:0;display:inline-block;max-width:calc(100vw - 40px)}
th,td{text-align:left;padding:6px 14px 6px 0;border-bottom:1px solid var(--rule);vertical-align:top}
thead th{font-weight:400;color:var(--soft);vertical-align:bottom;min-width:5.5em}
tbody th{font-weight:400}
.num{text-align:right;font-variant-numeric:tabular-nums}
td.num{white-space:nowrap}
td small{display:block;color:var(--soft)}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.92em}
main>section:first-child h2{border:0;margin-top:12px}
.pair table{min-width:100%}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(480px,100%),1fr));gap:0 32px;align-items:start}
footer{margin-top:48px;padding-bottom:40px;font-size:.84rem;color:var(--soft)}
@media (min-width:900px){.wide svg text,.wide svg .axis{font-size:8.5px}}
@media (max-width:600px){header,nav,main,footer{padding-left:14px;padding-right:14px}
.tiles{grid-template-columns:1fr 1fr}.chart{padding:10px}}
@media print{nav{display:none}.chart,.tiles div{break-inside:avoid}}
"""


def _colours(palette: tuple[str, ...]) -> str:
    return "".join(f"--c{at}:{colour};" for at, colour in enumerate(palette))


def _classes() -> str:
    rules = []
    for at in range(len(_LIGHT)):
        rules.append(f".fill.g{at},.ribbon.g{at}{{fill:var(--c{at})}}.mark.g{at},.net.g{at}{{stroke:var(--c{at})}}")
        rules.append(f".dot.s{at}{{fill:var(--c{at})}}.swatch.b{at}{{background:var(--c{at})}}")
    for at, dashes in enumerate(_DASHES):
        dashed = f";stroke-dasharray:{dashes}" if dashes else ""
        rules.append(f".line.s{at}{{stroke:var(--c{at}){dashed}}}")
    return "\n".join(rules)


#: What the page looks like.
STYLE = _VARIABLES % (_colours(_LIGHT), _colours(_DARK)) + _RULES + _classes()
