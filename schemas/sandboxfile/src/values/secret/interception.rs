//! Checks of a secret against the settings of TLS: where nothing is intercepted, its value cannot be sent.

use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::syntax::{Span, Spanned};
use crate::values::RawTls;
use crate::values::hosts::Placed;
use rules::rule::HostPattern;

/// The settings of TLS that matter to secrets.
pub(super) struct Interception {
    /// The place that turns it off, if one does.
    off: Option<Span>,
    bypass: Placed,
}

impl Interception {
    pub fn of(tls: Option<&RawTls>) -> Self {
        let intercept = tls.and_then(|tls| tls.intercept.as_ref());
        Self {
            off: intercept.filter(|intercept| !intercept.value).map(|intercept| intercept.span),
            bypass: Placed::of(tls.and_then(|tls| tls.bypass.as_ref())),
        }
    }

    /// Checks that the value of a secret can be sent to each of its hosts.
    pub fn check(
        &self,
        context: &mut Context<'_>,
        name: &Spanned<String>,
        hosts: &[Spanned<String>],
        require_tls: bool,
    ) -> Option<()> {
        let shown = shorten(&name.value);
        if let Some(off) = self.off.filter(|_| require_tls) {
            let message = format!("the secret `{shown}` is never sent: TLS is not intercepted");
            let (intercept, plain) = (
                context.sample_bare("intercept", context.format.pick("#true", "true")),
                context.sample_bare("require-tls", context.format.pick("#false", "false")),
            );
            return context.refuse(
                Diagnostic::error(Code::Conflict, name.span, message)
                    .label("needs the interception of TLS")
                    .also(off, "turned off here")
                    .help(format!("write `{intercept}`, or `{plain}` in a secret for plain HTTP alone")),
            );
        }
        let mut is_sound = true;
        for host in hosts {
            let Ok(pattern) = host.value.parse::<HostPattern>() else { continue };
            let Some((_, bypass)) = self.bypass.covering(&pattern) else { continue };
            let message = format!("the secret `{shown}` is never sent to `{pattern}`");
            context.push(
                Diagnostic::error(Code::Conflict, host.span, message)
                    .label("its connections are not intercepted")
                    .also(bypass, "bypassed here")
                    .help("remove the host from the secret, or from `bypass`"),
            );
            is_sound = false;
        }
        is_sound.then_some(())
    }
}

/// Reports hosts that the placeholder never reaches unchanged, as the value is sent there.
pub(super) fn check_passthrough(
    context: &mut Context<'_>,
    hosts: Option<&Vec<Spanned<String>>>,
    passthrough: Option<&Vec<Spanned<String>>>,
) -> Option<()> {
    let allowed = Placed::of(hosts);
    let mut is_sound = true;
    for host in passthrough.into_iter().flatten() {
        let Ok(pattern) = host.value.parse::<HostPattern>() else { continue };
        let Some((_, span)) = allowed.covering(&pattern) else { continue };
        let message = format!("`{pattern}` is among the hosts of the secret");
        context.push(
            Diagnostic::error(Code::Conflict, host.span, message)
                .label("the value is sent there, not the placeholder")
                .also(span, "one of the hosts")
                .help("remove one of the two"),
        );
        is_sound = false;
    }
    is_sound.then_some(())
}
