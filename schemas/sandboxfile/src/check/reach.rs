//! Dependencies that no rule lets a sandbox reach: it waits for them, and can then not connect.

use super::sandbox::Checked;
use crate::check::RawSandbox;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use rules::rule::{Action, Group, Rule, SANDBOX_ZONE, Target};
use schemas::spec::{Network, NetworkDefault, Role};
use std::collections::HashSet;

/// Warns about each of them. It is no error: a sandbox may need no connection to what it waits for.
pub(crate) fn check(context: &mut Context<'_>, raw: &[RawSandbox], checked: &[Checked]) {
    // A file with errors has enough to read.
    if !context.is_clean() {
        return;
    }
    let servers: HashSet<&str> = raw
        .iter()
        .filter(|sandbox| sandbox.role == Role::Service)
        .map(|sandbox| sandbox.name.value.as_str())
        .collect();
    for (sandbox, Checked { definition, .. }) in raw.iter().zip(checked) {
        for dependency in &sandbox.depends_on {
            let on = dependency.on.value.as_str();
            if !servers.contains(on) || may_reach(&definition.network, on) {
                continue;
            }
            let (name, on) = (shorten(&sandbox.name.value), shorten(on));
            let message = format!("`{name}` waits for `{on}`, and no rule lets it connect to it");
            let help = context.format.pick(
                format!(
                    "add `allow \"domain={on}\"` to its `network`, or `allow \"project\"` for all sandboxes"
                ),
                format!(
                    "add `allow@domain={on}` to its `network: rules`, or `allow@project` for all sandboxes"
                ),
            );
            context.push(
                Diagnostic::warning(Code::Unreachable, dependency.on.span, message)
                    .label("found by its name, and refused")
                    .help(help),
            );
        }
    }
}

/// Whether some rule may allow a connection to another sandbox of the project.
fn may_reach(network: &Network, name: &str) -> bool {
    let is_it = |target: &Target| match target {
        Target::Any | Target::Network(_) | Target::Group(Group::Private | Group::Project) => true,
        Target::Domain(domain) => {
            let domain = domain.as_str();
            domain == name || domain.strip_suffix(SANDBOX_ZONE) == Some(name)
        }
        Target::Suffix(suffix) => SANDBOX_ZONE.ends_with(suffix.as_str()),
        Target::Dns | Target::Group(_) => false,
    };
    let allows =
        |rule: &Rule| rule.action == Action::Allow && rule.direction.leads_out() && is_it(&rule.target);
    network.default == NetworkDefault::Allow || network.rules.iter().any(allows)
}
