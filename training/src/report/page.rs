//! What all pages share: their style, and how text is made harmless.

/// Colours are told apart by people who see red and green alike (Okabe and Ito), and follow the reader's choice of dark.
pub(super) const STYLE: &str = "\
:root{--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--paper:#fff;--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#cc79a7;\
--c4:#8a6d00;--c5:#56b4e9}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9da7b1;--line:#3d444d;--paper:#0d1117;--c0:#4aa8e0;\
--c1:#f08a3c;--c2:#2fc79b;--c3:#e3a2c8;--c4:#d6b656;--c5:#8fd0f5}}\
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}\
main{max-width:760px;margin:0 auto;padding:24px 16px 64px}\
h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:36px 0 8px}p{margin:4px 0 8px;color:var(--soft)}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:13px}\
th,td{padding:4px 14px 4px 0;border-bottom:1px solid var(--line);text-align:left;white-space:nowrap}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
figure{margin:12px 0 20px}figcaption{font-size:13px;color:var(--soft)}\
svg{max-width:100%;height:auto;display:block}\
svg text{font:12px system-ui,sans-serif;fill:var(--soft)}svg text.name{fill:var(--ink)}\
.paper{fill:var(--paper)}.grid{stroke:var(--line);stroke-width:1}.axis{stroke:var(--soft);stroke-width:1}\
.diagonal{stroke:var(--soft);stroke-width:1;stroke-dasharray:4 4}\
.line{fill:none;stroke-width:2;stroke-linejoin:round}.band{opacity:.22;stroke:none}\
.s0{stroke:var(--c0)}.s1{stroke:var(--c1)}.s2{stroke:var(--c2)}.s3{stroke:var(--c3)}.s4{stroke:var(--c4)}.s5{stroke:var(--c5)}\
.f0{fill:var(--c0)}.f1{fill:var(--c1)}.f2{fill:var(--c2)}.f3{fill:var(--c3)}.f4{fill:var(--c4)}.f5{fill:var(--c5)}";

/// Colours there are.
pub(super) const COLOURS: usize = 6;
/// Longest name shown.
const SHOWN_CHARS: usize = 60;

/// Text for HTML and SVG: no markup, no control characters, not too long.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut kept = text.chars().filter(|c| !c.is_control());
    for c in kept.by_ref().take(SHOWN_CHARS) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    if kept.next().is_some() {
        out.push('…');
    }
    out
}

/// A figure with four places that mean something.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".into()
    } else if !(1e-4..1e7).contains(&size) {
        format!("{value:.2e}")
    } else {
        let places = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
        format!("{value:.places$}")
    }
}
