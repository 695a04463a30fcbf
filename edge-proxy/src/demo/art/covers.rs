//! One drawing for each subject, made by a rule of that subject. They are masks: the page gives
//! them the colour of its release.

use std::f64::consts::TAU;
use std::fmt::Write;

use super::pen::{Dice, n, smooth};

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 200.0;

/// Name and drawing of each.
pub(super) fn all() -> [(&'static str, String); 6] {
    [
        ("tides", tides()),
        ("contours", contours()),
        ("spiral", spiral()),
        ("curves", curves()),
        ("tiles", tiles()),
        ("branches", branches()),
    ]
}

fn sheet(body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#000\" stroke-linecap=\"round\">{body}</svg>\n",
        n(WIDTH),
        n(HEIGHT),
        n(WIDTH),
        n(HEIGHT)
    )
}

/// The sea bulges below the moon.
fn tides() -> String {
    let mut body =
        "<circle cx=\"246\" cy=\"52\" r=\"30\" fill=\"#000\" stroke=\"none\"/>".to_owned();
    for ring in 1..4 {
        let _ = write!(
            body,
            "<circle cx=\"246\" cy=\"52\" r=\"{}\" opacity=\".{}\"/>",
            n(30.0 + 13.0 * f64::from(ring)),
            5 - ring
        );
    }
    for row in 0..10 {
        let depth = f64::from(row);
        let points: Vec<_> = (-1..=19)
            .map(|i| {
                let x = f64::from(i) * 20.0;
                let pull = (-(x - 246.0).powi(2) / 9_000.0).exp();
                let wave = (x / (16.0 + depth * 2.4) + depth * 1.9).sin() * (2.0 + depth * 0.55);
                (x, 118.0 + depth * 9.5 - pull * (30.0 - depth * 2.6) + wave)
            })
            .collect();
        let _ = write!(
            body,
            "<path stroke-width=\"{}\" d=\"{}\"/>",
            n(1.2 + depth * 0.28),
            smooth(&points, false)
        );
    }
    sheet(&body)
}

/// Two summits and a saddle.
fn contours() -> String {
    let mut body = String::new();
    let mut dice = Dice(7);
    // The lower summit stands in front: the slope behind it is drawn around its outermost line.
    for (cx, cy, rings, step, front) in [
        (282.0, 70.0, 5, 10.0, true),
        (132.0, 108.0, 12, 15.5, false),
    ] {
        let bumps: Vec<_> = (2..6)
            .map(|k| {
                (
                    f64::from(k),
                    dice.between(0.03, 0.15),
                    dice.between(0.0, TAU),
                )
            })
            .collect();
        for ring in 1..=rings {
            let radius = f64::from(ring) * step;
            let points: Vec<_> = (0..26)
                .map(|i| {
                    let turn = f64::from(i) / 26.0 * TAU;
                    let bump: f64 = bumps
                        .iter()
                        .map(|(k, size, start)| size * (k * turn + start + radius / 90.0).sin())
                        .sum();
                    let reach = radius * (1.0 + bump);
                    (
                        cx + 1.3 * reach * turn.cos(),
                        cy + 0.86 * reach * turn.sin(),
                    )
                })
                .collect();
            let (width, opacity) = if ring % 4 == 0 {
                ("2.4", "1")
            } else {
                ("1.2", ".75")
            };
            let line = smooth(&points, true);
            let clip = if front { "" } else { " clip-path=\"url(#c)\"" };
            let _ = write!(
                body,
                "<path{clip} stroke-width=\"{width}\" opacity=\"{opacity}\" d=\"{line}\"/>"
            );
            if front && ring == rings {
                let _ = write!(
                    body,
                    "<clipPath id=\"c\"><path clip-rule=\"evenodd\" d=\"M0 0H360V200H0z{line}\"/></clipPath>"
                );
            }
        }
        let _ = write!(
            body,
            "<path fill=\"#000\" stroke=\"none\" d=\"M{} {}l5 9h-10z\"/>",
            n(cx),
            n(cy - 5.0)
        );
    }
    sheet(&body)
}

/// Each seed turns by the golden angle.
fn spiral() -> String {
    let golden = TAU * (1.0 - 1.0 / 1.618_033_988_749_895);
    let mut body = String::from("<g fill=\"#000\" stroke=\"none\">");
    for seed in 2..190 {
        let k = f64::from(seed);
        let (reach, turn) = (8.6 * k.sqrt(), k * golden);
        let (x, y) = (
            180.0 + reach * turn.cos() * 1.32,
            100.0 + reach * turn.sin(),
        );
        if (-6.0..206.0).contains(&y) {
            let _ = write!(
                body,
                "<circle cx=\"{}\" cy=\"{}\" r=\"{}\"/>",
                n(x),
                n(y),
                n(1.1 + k.sqrt() * 0.3)
            );
        }
    }
    body.push_str("</g>");
    sheet(&body)
}

/// A fourth against a fifth, dying away.
fn curves() -> String {
    let points: Vec<_> = (0..520)
        .map(|i| {
            let t = f64::from(i) / 520.0 * TAU * 6.0;
            let fade = (-t / 46.0).exp();
            (
                180.0 + 166.0 * fade * (3.0 * t / 2.0 + 0.6).sin(),
                100.0 + 92.0 * fade * (2.005 * t + 1.2).sin(),
            )
        })
        .collect();
    sheet(&format!(
        "<path stroke-width=\"1.3\" d=\"{}\"/>",
        smooth(&points, false)
    ))
}

/// One tile, turned at random, never ends.
fn tiles() -> String {
    let mut dice = Dice(41);
    let mut path = String::new();
    for row in 0..5 {
        for column in 0..9 {
            let (x, y) = (column * 40, row * 40);
            let _ = match dice.between(0.0, 1.0) < 0.5 {
                true => write!(
                    path,
                    "M{} {y}a20 20 0 0 1-20 20M{} {}a20 20 0 0 1 20-20",
                    x + 20,
                    x + 20,
                    y + 40
                ),
                false => write!(
                    path,
                    "M{} {y}a20 20 0 0 0 20 20M{x} {}a20 20 0 0 1 20 20",
                    x + 20,
                    y + 20
                ),
            };
        }
    }
    sheet(&format!(
        "<path stroke-width=\"9\" d=\"{path}\"/><path stroke-width=\"1\" opacity=\".35\" d=\"M0 40H360M0 80H360M0 120H360M0 160H360M40 0V200M80 0V200M120 0V200M160 0V200M200 0V200M240 0V200M280 0V200M320 0V200\"/>"
    ))
}

/// A rule that calls itself.
fn branches() -> String {
    let mut body = String::new();
    let mut dice = Dice(3);
    grow(&mut body, &mut dice, (180.0, 204.0), (-TAU / 4.0, 44.0), 0);
    sheet(&body)
}

fn grow(
    body: &mut String,
    dice: &mut Dice,
    from: (f64, f64),
    (turn, length): (f64, f64),
    depth: u8,
) {
    let to = (
        from.0 + length * turn.cos() * 1.5,
        from.1 + length * turn.sin(),
    );
    let width = 8.0 * 0.66_f64.powi(depth.into());
    let _ = write!(
        body,
        "<path stroke-width=\"{}\" d=\"M{} {}L{} {}\"/>",
        n(width.max(0.8)),
        n(from.0),
        n(from.1),
        n(to.0),
        n(to.1)
    );
    if depth == 6 {
        let _ = write!(
            body,
            "<circle cx=\"{}\" cy=\"{}\" r=\"2.2\" fill=\"#000\" stroke=\"none\"/>",
            n(to.0),
            n(to.1)
        );
        return;
    }
    for side in [-1.0, 1.0] {
        let bend = side * dice.between(0.24, 0.52);
        let next = (turn + bend, length * dice.between(0.72, 0.86));
        grow(body, dice, to, next, depth + 1);
    }
}
