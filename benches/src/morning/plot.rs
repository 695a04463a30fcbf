//! The mornings as a page: one plot each, drawn with nothing but the page itself.

use super::{BAR_S, Morning, Report};

const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 48.0;
const FOOT: f64 = 28.0;

/// What is drawn of a bar: its index, its colour and what it is called.
const SERIES: [(usize, &str, &str); 3] = [
    (0, "#c9d6e2", "reads that rules cover"),
    (1, "#b5482a", "of these, asked of the platform"),
    (2, "#2a6db5", "identity checks"),
];

pub(super) fn page(report: &Report) -> String {
    let [schools, classes, pupils] = report.people;
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>A school's morning</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d2733}}\
         svg{{width:100%;height:auto}}text{{font:12px system-ui,sans-serif;fill:#4a5866}}\
         i{{display:inline-block;width:.8em;height:.8em;margin-right:.4em}}span{{margin-right:1.5em}}</style>\
         <h1>A school's morning</h1><p>{schools} schools, {classes} classes of {pupils} each sign in and open \
         the same three pages within five minutes, while teachers write and announcements are purged.</p><p>"
    );
    for (_, colour, name) in SERIES {
        page.push_str(&format!(
            "<span><i style=\"background:{colour}\"></i>{name}</span>"
        ));
    }
    page.push_str("</p>");
    for morning in &report.mornings {
        page.push_str(&format!(
            "<h2>Identity {}</h2><p>{} reads, {} reached the platform, {} identity checks: <strong>{:.1} %</strong>.</p>{}",
            morning.identity,
            morning.reads,
            morning.reached,
            morning.identity_checks,
            morning.share_percent,
            plot(morning),
        ));
    }
    page.push_str("</html>\n");
    page
}

fn plot(morning: &Morning) -> String {
    let most = morning.bars.iter().flatten().copied().max().unwrap_or(0);
    let top = scale(most);
    let wide = (WIDTH - LEFT) / morning.bars.len().max(1) as f64;
    let high = |value: u64| (HEIGHT - FOOT) * value as f64 / top as f64;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"requests in each {BAR_S} seconds\">"
    );
    for part in 0..=4 {
        let value = top * part / 4;
        let y = HEIGHT - FOOT - high(value);
        svg.push_str(&format!(
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e3e8ed\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            LEFT - 6.0,
            y + 4.0,
        ));
    }
    for (at, bar) in morning.bars.iter().enumerate() {
        let x = LEFT + wide * at as f64;
        for (part, (index, colour, _)) in SERIES.into_iter().enumerate() {
            // The reads behind, the others side by side before them.
            let (from, width) = match part {
                0 => (0.05, 0.9),
                part => (0.1 + 0.4 * (part as f64 - 1.0), 0.38),
            };
            let tall = high(bar[index]);
            svg.push_str(&format!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{tall:.1}\" fill=\"{colour}\"/>",
                x + wide * from,
                HEIGHT - FOOT - tall,
                wide * width,
            ));
        }
        let second = at as u64 * BAR_S;
        if second.is_multiple_of(60) {
            svg.push_str(&format!(
                "<text x=\"{x:.1}\" y=\"{:.1}\">{} min</text>",
                HEIGHT - 8.0,
                second / 60,
            ));
        }
    }
    svg.push_str("</svg>");
    svg
}

/// The least round number that is not below, and that four lines divide.
fn scale(most: u64) -> u64 {
    let mut top = 4;
    while top < most {
        top *= if top.to_string().starts_with('4') {
            2
        } else {
            5
        };
        if top > 1 << 40 {
            break;
        }
    }
    top
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_fits() {
        for most in [0, 4, 5, 39, 41, 1234, 99_999] {
            let top = scale(most);
            assert!(top >= most && top.is_multiple_of(4), "{most}: {top}");
            assert!(most < 4 || top <= most * 5, "{most}: {top}");
        }
    }
}
