//! `msb top`: a live view of sandboxes.
//!
//! ```text
//! registry, catalog ─► model ─► view ─► terminal
//!                        ▲
//!            keys ───────┴─────── output of other commands
//! ```

mod commands;
mod model;
#[cfg(test)]
mod tests;
mod view;

use crate::commands::sandbox::metrics::rows;
use crate::commands::sandbox::ps::status_text;
use crate::error::{CliError, Context};
use crate::host::Machine;
use crate::output::OutputOptions;
use crate::project::find::full_name_of;
use commands::Printed;
use executor::observe::observe_all;
use model::{Action, Mode, Model, Observed, Tab};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::{DefaultTerminal, restore, try_init};
use schemas::name::ProjectName;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, stdin, stdout};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use view::Look;

/// The time between two observations.
const INTERVAL: Duration = Duration::from_secs(1);
/// Rules and processes are read again with every third observation.
const SLOW: u32 = 3;
/// The code that a shell reports for a program ended by SIGTERM.
const TERMINATED: i32 = 143;

/// Shows the sandboxes of a project, or of all, until it is told to end.
///
/// # Errors
///
/// If there is no terminal, or sandboxes cannot be observed.
pub fn run(
    machine: &Machine,
    project: Option<&ProjectName>,
    options: OutputOptions,
) -> Result<ExitCode, CliError> {
    if !(stdin().is_terminal() && stdout().is_terminal()) {
        return Err(CliError::new("`msb top` needs a terminal").hint("`msb metrics` prints the numbers once"));
    }
    let look = Look { color: options.color_stdout, unicode: is_utf8() };
    // Before the terminal is taken, so that an error is readable.
    let mut model = Model::default();
    model.observe(observe(machine, project)?, Instant::now());
    let mut terminal = try_init().context("cannot set up the terminal")?;
    restore_at_signals();
    let ended = show(&mut terminal, &mut model, look, || observe(machine, project));
    restore();
    ended.map(|()| ExitCode::SUCCESS)
}

fn show(
    terminal: &mut DefaultTerminal,
    model: &mut Model,
    look: Look,
    observe: impl Fn() -> Result<Vec<Observed>, CliError>,
) -> Result<(), CliError> {
    let (printed, outputs) = channel();
    let mut next = Instant::now() + INTERVAL;
    // The commands whose output is not here yet, and the number of observations.
    let (mut asked, mut count) = (0_usize, 0_u32);
    loop {
        terminal.draw(|frame| view::draw(frame, model, look)).context("cannot draw")?;
        // Output of commands is waited for only as long as nobody notices.
        let wait = next.saturating_duration_since(Instant::now()).min(Duration::from_millis(100));
        if event::poll(wait).context("cannot read keys")?
            && let Event::Key(key) = event::read().context("cannot read keys")?
            && key.kind != KeyEventKind::Release
        {
            match model.press(key) {
                Action::Draw => {}
                Action::Quit => return Ok(()),
                Action::Show(tab, name) => {
                    asked += 1;
                    commands::show(tab, name, printed.clone());
                }
                Action::Run(operation, name) => {
                    model.message = format!("{} {name} …", operation.command());
                    commands::operate(operation, name, printed.clone());
                }
            }
        }
        asked = asked.saturating_sub(take(model, &outputs));
        if next <= Instant::now() {
            next = Instant::now() + INTERVAL;
            model.observe(observe()?, Instant::now());
            count = count.wrapping_add(1);
            if asked == 0
                && let Some((tab, name)) = due(model, count)
            {
                asked += 1;
                commands::show(tab, name, printed.clone());
            }
        }
    }
}

/// Takes what commands have printed, unless something else is shown by now; returns how many of them showed something.
fn take(model: &mut Model, outputs: &Receiver<Printed>) -> usize {
    let mut answered = 0;
    for output in outputs.try_iter() {
        match output {
            Printed::Details(tab, name, lines) => {
                answered += 1;
                if model.mode == Mode::Details(tab) && model.selected() == Some(&name) {
                    model.details = lines;
                }
            }
            Printed::Ended(message) => model.message = message,
        }
    }
    answered
}

/// Returns what is shown of a sandbox, if it is to be read again after so many observations.
fn due(model: &Model, count: u32) -> Option<(Tab, String)> {
    let (Mode::Details(tab), Some(name)) = (&model.mode, model.selected()) else { return None };
    // `ps` runs in the guest.
    let is_due = matches!(tab, Tab::Logs | Tab::Events) || count.is_multiple_of(SLOW);
    is_due.then(|| (*tab, name.to_owned()))
}

fn observe(machine: &Machine, project: Option<&ProjectName>) -> Result<Vec<Observed>, CliError> {
    let mut metrics: BTreeMap<String, _> =
        rows::all(&machine.home)?.into_iter().map(|row| (row.id.clone(), row)).collect();
    let seen = observe_all(&machine.home, &machine.catalog, project)?.sandboxes;
    let observed = seen.iter().map(|seen| Observed {
        full_name: full_name_of(seen),
        status: status_text(seen),
        metrics: metrics.remove(seen.row.id.as_str()),
    });
    Ok(observed.collect())
}

/// Whether the locale is one of UTF-8; one that is not set may be.
fn is_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    locale.is_none_or(|locale| locale.to_ascii_lowercase().replace('-', "").contains("utf8"))
}

/// Gives the terminal back before a signal ends the program.
fn restore_at_signals() {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime
            && runtime.block_on(end_asked()).is_ok()
        {
            restore();
            std::process::exit(TERMINATED);
        }
    });
}

/// Waits for SIGTERM or SIGHUP.
async fn end_asked() -> io::Result<()> {
    let (mut terminated, mut hung_up) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    tokio::select! {
        _ = terminated.recv() => {}
        _ = hung_up.recv() => {}
    }
    Ok(())
}
