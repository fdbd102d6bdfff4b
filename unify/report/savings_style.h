// Style and script of the page. Both stand in the page's Content-Security-Policy by their SHA-256, so that
// nothing else runs or styles there whatever a guest managed to put into a name. Change one and the test that
// recomputes the hashes (SavingsHtmlTest.PolicyNamesStyleAndScriptByTheirHash) prints the new one.
#pragma once

#include <string_view>

namespace vs::unify {

inline constexpr std::string_view kPageStyle = R"css(
:root{color-scheme:light dark;--bg:#f4f6f8;--card:#fff;--line:#dde3e9;--grid:#e6ebf0;--text:#1b2530;--soft:#5b6875;
--own:#2f6db5;--shared:#e39b2d;--saved:#2b8a64;--warn:#a8501b;--hover:#f0f4f8}
@media(prefers-color-scheme:dark){:root{--bg:#12171c;--card:#1a2128;--line:#2c3640;--grid:#28313a;--text:#e5eaef;
--soft:#98a5b2;--own:#6aa5e8;--shared:#e8b250;--saved:#5cc09a;--warn:#f0a070;--hover:#212a33}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--text);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 20px 48px}
h1{font-size:25px;line-height:1.25;margin:0 0 4px;font-weight:650}
h2{font-size:18px;margin:0 0 2px;font-weight:650}
h3{font-size:15px;margin:22px 0 6px;font-weight:650}
p{margin:0 0 10px}
.soft{color:var(--soft)}
.meta{display:flex;flex-wrap:wrap;gap:2px 22px;margin:0 0 20px;color:var(--soft)}
.meta b{color:var(--text);font-weight:600;overflow-wrap:anywhere}
.note{border-left:4px solid var(--warn);background:var(--card);padding:8px 14px;margin:0 0 18px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(160px,1fr));gap:12px;margin:0 0 18px}
.tile,section{background:var(--card);border:1px solid var(--line);border-radius:8px}
.tile{padding:12px 16px}
.tile .what{color:var(--soft);font-size:13px}
.tile .value{font-size:26px;line-height:1.3;font-weight:650;white-space:nowrap}
.tile .more{color:var(--soft);font-size:13px;line-height:1.4}
.tile.good .value{color:var(--saved)}
section{padding:18px 20px 20px;margin:0 0 18px}
section>:last-child{margin-bottom:0}
.legend{display:flex;flex-wrap:wrap;gap:4px 20px;margin:10px 0 6px;font-size:13px}
.legend svg{width:12px;height:12px;margin-right:7px;vertical-align:-1px}
.scroll{overflow-x:auto}
svg.plot{display:block;width:100%;min-width:640px;height:auto}
svg text{font-family:inherit;font-size:12px;fill:var(--text)}
svg .tick,svg .axis{fill:var(--soft)}
svg .grid{stroke:var(--grid);stroke-width:1}
svg .base{stroke:var(--soft);stroke-width:1}
.own{fill:var(--own)}.shared{fill:var(--shared)}.saved{fill:var(--saved)}.track{fill:var(--grid)}
.area{fill:var(--saved);fill-opacity:.16}.curve{fill:none;stroke:var(--saved);stroke-width:2}
.gap{fill:var(--card)}.hit{fill:transparent}
svg rect{shape-rendering:crispEdges}
g.bar:hover .hit{fill:var(--text);fill-opacity:.07}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
th{text-align:right;font-weight:600;color:var(--soft);border-bottom:1px solid var(--line);padding:5px 9px;vertical-align:bottom;white-space:nowrap}
td{text-align:right;padding:4px 9px;border-bottom:1px solid var(--grid);white-space:nowrap}
th.name,td.name{text-align:left}
td.name{overflow:hidden;max-width:26em;text-overflow:ellipsis}
tbody tr:hover{background:var(--hover)}
tr.sum td{font-weight:650;border-top:1px solid var(--line)}
table.sortable th{cursor:pointer}
table.sortable th:hover{color:var(--text)}
th[aria-sort=ascending]::after{content:" \25B4"}
th[aria-sort=descending]::after{content:" \25BE"}
details{margin-top:14px}
summary{cursor:pointer;font-weight:600;padding:4px 0}
dl{margin:8px 0 0;display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;font-size:13.5px}
dt{font-weight:600}
dd{margin:0;color:var(--soft)}
.after{margin-top:12px}
@media(max-width:560px){dl{grid-template-columns:1fr}td.name{max-width:11em}}
@media print{body{background:#fff}section,.tile{break-inside:avoid}}
)css";

// Makes the tables sortable by their titles; the page is complete without it.
inline constexpr std::string_view kPageScript = R"js(
document.querySelectorAll('table').forEach(function(table){
  var body=table.tBodies[0],heads=Array.prototype.slice.call(table.tHead.rows[0].cells);
  table.classList.add('sortable');
  function key(row,i){var v=row.cells[i].dataset.v;return v===undefined?row.cells[i].textContent:Number(v)}
  function sort(head,i){
    var down=head.getAttribute('aria-sort')==='descending'||(!head.hasAttribute('aria-sort')&&head.className==='name')?1:-1;
    var rows=Array.prototype.slice.call(body.rows);
    rows.sort(function(a,b){var x=key(a,i),y=key(b,i);return down*(x<y?-1:x>y?1:0)});
    rows.forEach(function(row){body.appendChild(row)});
    heads.forEach(function(other){other.removeAttribute('aria-sort')});
    head.setAttribute('aria-sort',down>0?'ascending':'descending');
  }
  heads.forEach(function(head,i){
    head.tabIndex=0;
    head.addEventListener('click',function(){sort(head,i)});
    head.addEventListener('keydown',function(e){if(e.key==='Enter'){sort(head,i)}});
  });
});
)js";

inline constexpr std::string_view kPageStyleHash = "sq0YiHedg92vZPJp1Ip5a++/e5UqUkfE2aKDhd6EgHg=";
inline constexpr std::string_view kPageScriptHash = "WkTiJPD9Ug5vWvF70e1/LqQOMWZyhmIR0g+Vpbv58QU=";

}  // namespace vs::unify
