//! A comparison as pictures: who attacks whom, what a token buys, and what safety costs in helpfulness.
//!
//! Pure functions of the records, as SVG text that any browser and any paper takes. Intervals are drawn wherever there are
//! some. A picture is left out where there is nothing to show: the frontier needs several `h_min`.

use super::{Arm, Averages, CrossPlay, Evidence, mean_success, met};
use grts_game::Estimate;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::collections::BTreeMap;
use std::error::Error;

type Drawn = Result<(), Box<dyn Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const FONT: &str = "sans-serif";
const SIZE: (u32, u32) = (760, 480);
/// Distinct for most forms of colour blindness (Okabe and Ito 2008), by the order of [`Arm::ALL`].
const COLOURS: [RGBColor; 8] = [
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(204, 121, 167),
    RGBColor(140, 140, 140),
    RGBColor(0, 114, 178),
    RGBColor(240, 200, 40),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
];

/// Pictures by file name.
pub(super) fn all(
    methods: &[Averages],
    runs: &[Evidence],
    pairs: &[CrossPlay],
) -> Result<Vec<(&'static str, String)>, String> {
    let mut drawn = vec![
        ("cross-play.svg", picture((SIZE.0, 120 + 48 * met(pairs).len() as u32), |area| cross_play(pairs, area))),
        ("budget.svg", picture(SIZE, |area| budget(runs, area))),
    ];
    if methods.iter().any(|of| of.h_min != methods[0].h_min) {
        drawn.push(("frontier.svg", picture(SIZE, |area| frontier(methods, area))));
    }
    drawn
        .into_iter()
        .map(|(name, svg)| Ok((name, svg.map_err(|e| format!("`{name}` cannot be drawn: {e}"))?)))
        .collect()
}

fn picture(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area)?;
        area.present()?;
    }
    Ok(text)
}

fn colour(arm: Arm) -> RGBColor {
    let place = Arm::ALL.iter().position(|known| *known == arm).unwrap_or_default();
    COLOURS[place % COLOURS.len()]
}

/// A square for each pair of methods, darker the more its attack succeeds; means over seeds and `h_min`.
fn cross_play(pairs: &[CrossPlay], area: &Area<'_>) -> Drawn {
    const SIDE: i32 = 48;
    const LEFT: i32 = 230;
    const TOP: i32 = 80;
    let arms = met(pairs);
    let label = |size: u32, h| (FONT, size).into_font().color(&BLACK).pos(Pos::new(h, VPos::Center));
    area.draw(&Text::new(
        "attack success of each method's worst attacker against each method's blue",
        (16, 20),
        (FONT, 16).into_font(),
    ))?;
    for (at, arm) in arms.iter().enumerate() {
        let middle = SIDE * at as i32 + SIDE / 2;
        area.draw(&Text::new(format!("{} {}", at + 1, arm.name()), (LEFT - 10, TOP + middle), label(14, HPos::Right)))?;
        area.draw(&Text::new(format!("blue {}", at + 1), (LEFT + middle, TOP - 14), label(13, HPos::Center)))?;
    }
    for (row, red) in arms.iter().enumerate() {
        for (col, blue) in arms.iter().enumerate() {
            let asr = mean_success(pairs, *red, *blue);
            let (x, y) = (LEFT + SIDE * col as i32, TOP + SIDE * row as i32);
            // From white to dark blue, linear in the rate.
            let shade = |full: u8| 255 - ((255.0 - f64::from(full)) * asr.clamp(0.0, 1.0)).round() as u8;
            let fill = RGBColor(shade(8), shade(48), shade(107)).filled();
            area.draw(&Rectangle::new([(x, y), (x + SIDE - 2, y + SIDE - 2)], fill))?;
            let ink = if asr > 0.5 { WHITE } else { BLACK };
            let style = (FONT, 13).into_font().color(&ink).pos(Pos::new(HPos::Center, VPos::Center));
            area.draw(&Text::new(format!("{asr:.2}"), (x + SIDE / 2 - 1, y + SIDE / 2 - 1), style))?;
        }
    }
    Ok(())
}

/// A curve of estimates in one colour.
struct Curve {
    name: String,
    colour: RGBColor,
    points: Vec<(f64, Estimate)>,
}

/// The strongest attacker's success against the share of look-alike requests that blue must serve, with the twin's exact line.
fn frontier(methods: &[Averages], area: &Area<'_>) -> Drawn {
    let mut curves: Vec<Curve> = Vec::new();
    for of in methods {
        let point = (of.h_min, of.strongest_probe);
        match curves.iter_mut().find(|curve| curve.name == of.method.name()) {
            Some(curve) => curve.points.push(point),
            None => {
                curves.push(Curve { name: of.method.name().to_owned(), colour: colour(of.method), points: vec![point] })
            }
        }
    }
    let exact: BTreeMap<u64, (f64, Estimate)> =
        methods.iter().map(|of| (of.h_min.to_bits(), (of.h_min, Estimate::exact(of.reference_value)))).collect();
    curves.push(Curve { name: "v*, exact".to_owned(), colour: BLACK, points: exact.into_values().collect() });
    chart(area, ("share of look-alike requests that blue must serve (h_min)", "strongest fresh attacker"), curves)
}

/// What blue is worth against the tokens spent, over all seeds: the hottest cell at parts of the budget.
fn budget(runs: &[Evidence], area: &Area<'_>) -> Drawn {
    let curve = |arm: Arm| {
        let own: Vec<&Evidence> = runs.iter().filter(|run| run.trial.method == arm).collect();
        let shares = own.first()?.curve.iter().map(|point| point.share);
        let points = shares.map(|share| {
            let at: Vec<_> = own.iter().filter_map(|run| run.curve.iter().find(|p| p.share == share)).collect();
            let tokens = at.iter().map(|p| p.tokens as f64).sum::<f64>() / at.len().max(1) as f64;
            (tokens / 1e6, super::over_seeds(at.iter().map(|p| p.worst_cell).collect()))
        });
        Some(Curve { name: arm.name().to_owned(), colour: colour(arm), points: points.collect() })
    };
    let curves = Arm::ALL.into_iter().filter_map(curve).collect();
    chart(area, ("million tokens of play and training", "hottest cell of the held-out grid"), curves)
}

/// Curves over one axis from 0, success from 0 to 1; room is left on the right for the legend.
fn chart(area: &Area<'_>, (across, up): (&str, &str), mut curves: Vec<Curve>) -> Drawn {
    for curve in &mut curves {
        curve.points.retain(|(_, estimate)| estimate.n > 0);
        curve.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let farthest = curves.iter().flat_map(|c| &c.points).map(|point| point.0).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .margin_right(24)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..1.35 * farthest.max(1e-9), 0.0..1.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.08))
        .x_desc(across)
        .y_desc(up)
        .axis_desc_style((FONT, 14))
        .label_style((FONT, 12))
        .draw()?;
    for Curve { name, colour, points } in curves {
        let line = points.iter().map(|(x, y)| (*x, y.mean));
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
        chart.draw_series(points.iter().map(|(x, y)| {
            ErrorBar::new_vertical(*x, y.low.clamp(0.0, 1.0), y.mean, y.high.clamp(0.0, 1.0), colour.filled(), 6)
        }))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .label_font((FONT, 12))
        .draw()?;
    Ok(())
}
