//! The picture on top of the page: a flock that follows its bellwether over the hills.

use std::fmt::Write;

use super::pen::{Dice, n, smooth};

const WIDTH: f64 = 1600.0;
const HEIGHT: f64 = 560.0;

/// Which release the picture belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    /// Blue: the flock is on the near hill.
    Near,
    /// Green: it has gone on to the next one.
    Next,
}

struct Hill {
    base: f64,
    waves: [(f64, f64, f64); 2], // height, length, start
}

impl Hill {
    fn y(&self, x: f64) -> f64 {
        let waves = self.waves.iter();
        self.base
            + waves
                .map(|(height, length, start)| height * (x / length + start).sin())
                .sum::<f64>()
    }

    fn tilt(&self, x: f64) -> f64 {
        ((self.y(x + 8.0) - self.y(x - 8.0)) / 16.0)
            .atan()
            .to_degrees()
    }

    fn ridge(&self, down: f64) -> String {
        let points: Vec<_> = (-1..=21)
            .map(|i| (f64::from(i) * 80.0, self.y(f64::from(i) * 80.0) + down))
            .collect();
        smooth(&points, false)
    }

    fn draw(&self, class: &str) -> String {
        format!(
            "<path class=\"{class}\" d=\"{}V{}H-80Z\"/>",
            self.ridge(0.0),
            n(HEIGHT)
        )
    }
}

const FAR: Hill = Hill {
    base: 262.0,
    waves: [(34.0, 210.0, 0.4), (14.0, 83.0, 2.0)],
};
const MIDDLE: Hill = Hill {
    base: 318.0,
    waves: [(44.0, 300.0, 3.6), (10.0, 120.0, 1.0)],
};
const NEXT: Hill = Hill {
    base: 372.0,
    waves: [(46.0, 260.0, 0.9), (12.0, 97.0, 0.0)],
};
const NEAR: Hill = Hill {
    base: 452.0,
    waves: [(40.0, 330.0, 4.4), (8.0, 110.0, 2.6)],
};

/// Colours by class, light and dark, for each scene.
fn style(scene: Scene) -> String {
    // sky top, sky bottom, far, middle, next, near, line, tree, dark, wool, shade, scarf
    let (light, dark) = match scene {
        Scene::Near => (
            [
                "#c9d8fa", "#f2f5fd", "#b3c6f1", "#93abe6", "#6f8bd8", "#4463c2", "#3550ab",
                "#3d5ab8", "#17244f", "#fffdf7", "#dbe2f4", "#e4572e",
            ],
            [
                "#0b1230", "#1a2650", "#1d2a59", "#243569", "#2b4079", "#35508f", "#46639f",
                "#1a2854", "#070c1d", "#e9ecf6", "#b5bfdc", "#ff7d54",
            ],
        ),
        Scene::Next => (
            [
                "#cdeedd", "#f6fbf3", "#b4e0c6", "#8fcfaa", "#5fb487", "#2c8a60", "#237450",
                "#2b7f59", "#0d3326", "#fffdf7", "#d9ebe0", "#e4572e",
            ],
            [
                "#07201a", "#123629", "#143b2d", "#1a4938", "#205a44", "#296e53", "#3b8467",
                "#12372a", "#041410", "#e8f2ec", "#b2cfc0", "#ff7d54",
            ],
        ),
    };
    let rules = |c: [&str; 12]| {
        format!(
            ".s0{{stop-color:{}}}.s1{{stop-color:{}}}.a{{fill:{}}}.b{{fill:{}}}.c{{fill:{}}}.d{{fill:{}}}.l{{stroke:{};fill:none}}.t{{fill:{}}}.k{{fill:{};stroke:{}}}.w{{fill:{}}}.h{{fill:{}}}.f{{fill:{};stroke:{}}}",
            c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[8], c[9], c[10], c[11], c[11]
        )
    };
    format!(
        "<style>{}.o{{fill:#f0b429}}@media(prefers-color-scheme:dark){{{}.o{{fill:#ffd166}}}}</style>",
        rules(light),
        rules(dark)
    )
}

/// The whole picture.
pub(super) fn draw(scene: Scene) -> String {
    let mut dice = Dice(20_261_122);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" width=\"{}\" height=\"{}\">",
        n(WIDTH),
        n(HEIGHT),
        n(WIDTH),
        n(HEIGHT)
    );
    svg.push_str(&style(scene));
    svg.push_str(
        "<defs><linearGradient id=\"y\" x1=\"0\" y1=\"0\" x2=\"0\" y2=\"1\"><stop class=\"s0\" offset=\"0\"/>\
         <stop class=\"s1\" offset=\".72\"/></linearGradient>",
    );
    svg.push_str(&sheep());
    svg.push_str(&trees());
    svg.push_str("</defs><rect width=\"1600\" height=\"560\" fill=\"url(#y)\"/>");
    let (sun_x, sun_y) = match scene {
        Scene::Near => (1236.0, 176.0),
        Scene::Next => (1330.0, 120.0),
    };
    for (radius, opacity) in [(128.0, 0.16), (92.0, 0.24), (58.0, 1.0)] {
        let _ = write!(
            svg,
            "<circle class=\"o\" cx=\"{}\" cy=\"{}\" r=\"{}\" opacity=\"{opacity}\"/>",
            n(sun_x),
            n(sun_y),
            n(radius)
        );
    }
    svg.push_str(&FAR.draw("a"));
    svg.push_str(&wood(
        &FAR,
        &mut dice,
        0.34,
        &[(40.0, 230.0), (560.0, 640.0), (1380.0, 1590.0)],
    ));
    svg.push_str(&MIDDLE.draw("b"));
    svg.push_str(&furrows(&MIDDLE, 5, 15.0));
    svg.push_str(&schoolhouse(560.0, MIDDLE.y(560.0)));
    svg.push_str(&wood(
        &MIDDLE,
        &mut dice,
        0.6,
        &[(640.0, 800.0), (1130.0, 1240.0), (20.0, 150.0)],
    ));
    svg.push_str(&NEXT.draw("c"));
    if scene == Scene::Next {
        svg.push_str(&flock(&NEXT, &mut dice, 0.8, 1160.0));
    }
    svg.push_str(&furrows(&NEXT, 4, 18.0));
    svg.push_str(&wood(
        &NEXT,
        &mut dice,
        0.95,
        &[(1440.0, 1590.0), (10.0, 120.0)],
    ));
    svg.push_str(&NEAR.draw("d"));
    if scene == Scene::Near {
        svg.push_str(&flock(&NEAR, &mut dice, 1.0, 1110.0));
    }
    svg.push_str(&grass(&NEAR, &mut dice));
    svg.push_str("</svg>\n");
    svg
}

fn sheep() -> String {
    let mut wool = String::new();
    for i in 0..12 {
        let turn = f64::from(i) / 12.0 * std::f64::consts::TAU;
        let _ = write!(
            wool,
            "<circle cx=\"{}\" cy=\"{}\" r=\"9\"/>",
            n(21.0 * turn.cos()),
            n(-31.0 + 12.0 * turn.sin())
        );
    }
    format!(
        "<g id=\"sheep\"><g class=\"k\" stroke-width=\"4\" stroke-linecap=\"round\"><path d=\"M-15-14V0M-8-12V0M10-14V0M17-12V0\"/></g>\
         <g class=\"w\">{wool}<ellipse cy=\"-31\" rx=\"24\" ry=\"15\"/></g>\
         <path class=\"h\" d=\"M-27-24c6 12 44 14 54-2 2 10-8 18-18 17-5 4-13 4-17 0-8 2-19-5-19-15z\"/>\
         <g class=\"k\" stroke=\"none\"><path stroke=\"none\" d=\"M26-49c9-3 17 2 19 9 2 6 3 10-1 12-5 2-14-1-18-7-3-5-4-12 0-14z\"/><ellipse stroke=\"none\" cx=\"24\" cy=\"-42\" rx=\"8\" ry=\"3.4\" transform=\"rotate(24 24 -42)\"/></g>\
         <g class=\"w\"><circle cx=\"27\" cy=\"-49\" r=\"5\"/><circle cx=\"33\" cy=\"-50\" r=\"4\"/><circle cx=\"37.5\" cy=\"-41\" r=\"1.5\"/></g></g>"
    )
}

/// A maple is round, a cedar has storeys.
fn trees() -> String {
    "<g id=\"maple\"><path class=\"k\" stroke-width=\"5\" d=\"M0 0V-40\"/><g class=\"t\"><circle cy=\"-62\" r=\"28\"/><circle cx=\"-19\" cy=\"-46\" r=\"18\"/><circle cx=\"19\" cy=\"-46\" r=\"19\"/></g></g>\
     <g id=\"cedar\"><path class=\"k\" stroke-width=\"5\" d=\"M0 0V-30\"/><path class=\"t\" d=\"M0-118 22-78H12L30-48H16L38-14H-38L-16-48H-30L-12-78H-22z\"/></g>"
        .to_owned()
}

fn wood(hill: &Hill, dice: &mut Dice, scale: f64, groves: &[(f64, f64)]) -> String {
    let mut svg = String::new();
    for (from, to) in groves {
        let mut x = *from;
        while x < *to {
            let tree = if dice.between(0.0, 1.0) < 0.5 {
                "maple"
            } else {
                "cedar"
            };
            let size = scale * dice.between(0.75, 1.15);
            let _ = write!(
                svg,
                "<use href=\"#{tree}\" transform=\"translate({} {})scale({size:.2})\"/>",
                n(x),
                n(hill.y(x) + 5.0 * scale)
            );
            x += scale * dice.between(30.0, 66.0);
        }
    }
    svg
}

fn furrows(hill: &Hill, count: i32, step: f64) -> String {
    let lines: String = (1..=count)
        .map(|i| hill.ridge(f64::from(i) * step * (1.0 + f64::from(i) * 0.12)))
        .collect();
    format!("<path class=\"l\" stroke-width=\"1.5\" opacity=\".45\" d=\"{lines}\"/>")
}

fn schoolhouse(x: f64, y: f64) -> String {
    format!(
        "<g transform=\"translate({} {})\"><path class=\"w\" d=\"M-62 8V-44H44V8z\"/><path class=\"f\" stroke=\"none\" d=\"M-72-42-54-76H36L54-42z\"/>\
         <path class=\"w\" d=\"M-8-60V-112H22V-60z\"/><path class=\"f\" stroke=\"none\" d=\"M-16-110 7-148 30-110z\"/><path class=\"k\" stroke=\"none\" d=\"M-2-78V-94a9 9 0 0 1 18 0V-78z\"/>\
         <circle class=\"o\" cx=\"7\" cy=\"-85\" r=\"5\"/><path class=\"k\" stroke=\"none\" d=\"M-2 8V-18a9 9 0 0 1 18 0V8zM-48-32h14v16h-14zM-28-32h14v16h-14zM24-32h12v16H24z\"/></g>",
        n(x),
        n(y)
    )
}

/// The bellwether stands at `lead`; the others come after it.
fn flock(hill: &Hill, dice: &mut Dice, scale: f64, lead: f64) -> String {
    let mut svg = String::new();
    let mut x = lead - 118.0 * scale;
    let mut rows = Vec::new();
    while x > 90.0 {
        let lane = dice.between(-3.0, 17.0) * scale;
        rows.push((x, lane, scale * dice.between(0.8, 0.96)));
        x -= scale * dice.between(38.0, 92.0);
    }
    // Who stands lower stands in front.
    rows.sort_by(|a, b| a.1.total_cmp(&b.1));
    for (x, lane, size) in rows {
        let _ = write!(
            svg,
            "<use href=\"#sheep\" transform=\"translate({} {})rotate({})scale({size:.2})\"/>",
            n(x),
            n(hill.y(x) + lane),
            n(hill.tilt(x))
        );
    }
    let _ = write!(
        svg,
        "<g transform=\"translate({} {})rotate({})scale({:.2})\"><use href=\"#sheep\"/>\
         <path class=\"f\" fill=\"none\" stroke-width=\"5\" stroke-linecap=\"round\" d=\"M21-39c0 6 2 10 8 13\" style=\"fill:none\"/>\
         <path class=\"o\" d=\"M27-26c4-2 8 0 9 5l2 6H22l3-5c1-3 0-5 2-6z\"/><circle class=\"o\" cx=\"30\" cy=\"-13.5\" r=\"2.6\"/></g>",
        n(lead),
        n(hill.y(lead) + 8.0 * scale),
        n(hill.tilt(lead)),
        scale * 1.3
    );
    svg
}

fn grass(hill: &Hill, dice: &mut Dice) -> String {
    let mut blades = String::new();
    let mut flowers = String::new();
    for _ in 0..70 {
        let x = dice.between(0.0, WIDTH);
        let y = hill.y(x) + dice.between(26.0, 110.0);
        let _ = write!(blades, "M{} {}q1-7 5-11m-5 11q-1-5-5-8", n(x), n(y));
        if dice.between(0.0, 1.0) < 0.22 {
            let _ = write!(
                flowers,
                "<circle cx=\"{}\" cy=\"{}\" r=\"2.5\"/>",
                n(x + 5.0),
                n(y - 12.0)
            );
        }
    }
    format!(
        "<path class=\"l\" stroke-width=\"1.6\" stroke-linecap=\"round\" d=\"{blades}\"/><g class=\"o\">{flowers}</g>"
    )
}
