use super::model::{Action, HISTORY_MAX, Mode, Model, Observed, Operation, Sort, Tab};
use super::view::{Look, draw};
use crate::commands::sandbox::metrics::rows::Row;
use crate::commands::sandbox::metrics::rows::tests::row;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const PLAIN: Look = Look { color: false, unicode: true };

/// Returns a sandbox that uses so many thousandths of a processor, and has received so many bytes.
fn observed(name: &str, cpu: u64, received: u64) -> Observed {
    let metrics = Row { cpu_percent: cpu as f64 / 10.0, net_received_bytes: Some(received), ..row(name) };
    Observed { full_name: format!("shop-{name}"), status: "running".to_owned(), metrics: Some(metrics) }
}

/// Returns a model that has seen three sandboxes for a while.
fn model() -> Model {
    let mut model = Model::default();
    let start = Instant::now();
    for second in 0..60_u64 {
        let stopped =
            Observed { full_name: "shop-old".to_owned(), status: "exited (1)".to_owned(), metrics: None };
        let mut sick = observed("worker", 5, 0);
        sick.status = "running (unhealthy)".to_owned();
        let web = observed("web", (second * 37) % 1000, second * second * 1000);
        model.observe(vec![stopped, sick, web], start + Duration::from_secs(second));
    }
    // The selection stays where it was when the order changes.
    assert_eq!(model.selected(), Some("shop-worker"));
    press(&mut model, KeyCode::Home);
    model
}

fn screen(model: &Model, look: Look, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, look)).unwrap();
    terminal.backend().to_string()
}

fn press(model: &mut Model, code: KeyCode) -> Action {
    model.press(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn the_list_fits_small_and_large_terminals() {
    let mut model = model();
    insta::assert_snapshot!("80 columns", screen(&model, PLAIN, 80, 12));
    insta::assert_snapshot!("200 columns", screen(&model, PLAIN, 200, 12));
    insta::assert_snapshot!("ASCII", screen(&model, Look { unicode: false, ..PLAIN }, 80, 8));
    press(&mut model, KeyCode::Char('?'));
    insta::assert_snapshot!("help", screen(&model, PLAIN, 80, 24));
    // Nothing panics in a window that shows nothing.
    for (width, height) in [(1, 1), (10, 2), (40, 3), (117, 5), (118, 5), (500, 200)] {
        for mode in
            [Mode::List, Mode::Help, Mode::Filter, Mode::Details(Tab::Logs), Mode::Question(Operation::Stop)]
        {
            model.mode = mode;
            screen(&model, PLAIN, width, height);
        }
    }
}

#[test]
fn details_are_beside_the_list_or_instead_of_it() {
    let mut model = model();
    let action = press(&mut model, KeyCode::Enter);
    assert_eq!(action, Action::Show(Tab::Logs, "shop-web".to_owned()));
    model.details = (1..=100).map(|number| format!("line {number}")).collect();
    insta::assert_snapshot!("details", screen(&model, PLAIN, 80, 24));
    let small = screen(&model, PLAIN, 80, 10);
    assert!(small.contains("line 100") && !small.contains("shop-worker"), "{small}");
    assert_eq!(press(&mut model, KeyCode::Right), Action::Show(Tab::Events, "shop-web".to_owned()));
    assert_eq!(press(&mut model, KeyCode::Left), Action::Show(Tab::Logs, "shop-web".to_owned()));
    assert_eq!(press(&mut model, KeyCode::Down), Action::Show(Tab::Logs, "shop-worker".to_owned()));
    press(&mut model, KeyCode::Esc);
    assert_eq!(model.mode, Mode::List);
}

#[test]
fn sandboxes_are_sorted_and_filtered() {
    let names = |model: &Model| -> Vec<String> {
        model.shown().iter().map(|entry| entry.seen.full_name.replace("shop-", "")).collect()
    };
    let mut model = model();
    assert_eq!(
        (model.sort, names(&model)),
        (Sort::Cpu, vec!["web".to_owned(), "worker".into(), "old".into()])
    );
    for _ in 0..4 {
        press(&mut model, KeyCode::Char('s'));
    }
    assert_eq!(
        (model.sort, names(&model)),
        (Sort::Name, vec!["old".to_owned(), "web".into(), "worker".into()])
    );
    press(&mut model, KeyCode::Char('/'));
    for character in "wor".chars() {
        press(&mut model, KeyCode::Char(character));
    }
    assert_eq!(names(&model), ["worker"]);
    assert_eq!(model.selected(), Some("shop-worker"), "the selection is one that is shown");
    press(&mut model, KeyCode::Char('q'));
    assert_eq!((names(&model).len(), model.selected()), (0, None), "letters are text here");
    // Nothing is selected, so nothing can be stopped.
    press(&mut model, KeyCode::Enter);
    press(&mut model, KeyCode::Char('x'));
    assert_eq!(model.mode, Mode::List);
    press(&mut model, KeyCode::Char('/'));
    press(&mut model, KeyCode::Esc);
    assert_eq!(names(&model).len(), 3);
}

#[test]
fn operations_ask_first() {
    let mut model = model();
    for (key, operation) in [('r', Operation::Restart), ('x', Operation::Stop)] {
        press(&mut model, KeyCode::Char(key));
        assert_eq!(model.mode, Mode::Question(operation));
        assert_eq!(press(&mut model, KeyCode::Enter), Action::Draw);
        assert_eq!(model.mode, Mode::List);
        press(&mut model, KeyCode::Char(key));
        assert_eq!(press(&mut model, KeyCode::Char('y')), Action::Run(operation, "shop-web".to_owned()));
    }
    assert_eq!(press(&mut model, KeyCode::Char('q')), Action::Quit);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    model.mode = Mode::Filter;
    assert_eq!(model.press(interrupt), Action::Quit);
}

#[test]
fn rates_are_of_the_time_between_and_a_restart_is_no_traffic() {
    let mut model = Model::default();
    let start = Instant::now();
    let last = |model: &Model| model.all().next().map(|entry| entry.net.last());
    for (second, received, rate) in [(0, 5_000, 0), (2, 9_000, 2_000), (3, 100, 0), (4, 200, 100)] {
        model.observe(vec![observed("web", 0, received)], start + Duration::from_secs(second));
        assert_eq!(last(&model), Some(rate), "after {second} s");
    }
    for second in 5..500 {
        model.observe(vec![observed("web", 0, 0)], start + Duration::from_secs(second));
    }
    assert_eq!(model.all().next().unwrap().net.newest(1000).count(), HISTORY_MAX);
    model.observe(Vec::new(), start);
    assert_eq!(model.selected(), None);
}

/// Draws a screen as a picture.
fn svg(buffer: &Buffer) -> String {
    const CELL: (u16, u16) = (8, 17);
    let (width, height) = (buffer.area.width * CELL.0 + 16, buffer.area.height * CELL.1 + 16);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         font-family=\"monospace\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#1d2129\"/>\n"
    );
    for row in 0..buffer.area.height {
        for column in 0..buffer.area.width {
            let cell = &buffer[(column, row)];
            let is_reversed = cell.modifier.contains(Modifier::REVERSED);
            let (x, y) = (8 + column * CELL.0, 8 + row * CELL.1);
            if is_reversed {
                let (width, height) = CELL;
                writeln!(
                    svg,
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"#c8ccd4\"/>"
                )
                .unwrap();
            }
            if cell.symbol() == " " {
                continue;
            }
            let fill = match cell.fg {
                _ if is_reversed => "#1d2129",
                Color::Green => "#7ec699",
                Color::Cyan => "#67cdcc",
                Color::Red => "#f08d8d",
                _ if cell.modifier.contains(Modifier::DIM) => "#7f8694",
                _ => "#c8ccd4",
            };
            let weight = if cell.modifier.contains(Modifier::BOLD) { " font-weight=\"bold\"" } else { "" };
            let text = cell.symbol().replace('&', "&amp;").replace('<', "&lt;");
            let y = y + 13;
            writeln!(svg, "<text x=\"{x}\" y=\"{y}\" fill=\"{fill}\"{weight}>{text}</text>").unwrap();
        }
    }
    svg.push_str("</svg>\n");
    svg
}

#[test]
fn the_picture_in_the_readme_is_what_is_drawn() {
    let mut model = model();
    press(&mut model, KeyCode::Enter);
    model.details =
        ["listening on port 80", "GET /hello 200", "GET /nowhere 404"].map(str::to_owned).to_vec();
    let look = Look { color: true, unicode: true };
    let mut terminal = Terminal::new(TestBackend::new(120, 20)).unwrap();
    terminal.draw(|frame| draw(frame, &model, look)).unwrap();
    let drawn = svg(terminal.backend().buffer());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/top.svg");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &drawn).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(known == drawn, "UPDATE_GOLDEN=1 draws {} anew", path.display());
}
