//! Numbers and names of signals in a guest.

/// Linux signals from number 1 on, without those whose number depends on the processor.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// The first real-time signal that glibc and musl leave to programs; [`RTMAX`] is the last.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// Parses a signal: a number from 1 to 64, or a name with or without `SIG`, in any case, such as `TERM` or `RTMIN+1`.
pub fn parse_signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = (1..).zip(SIGNALS).find(|(_, known)| *known == name);
    named.map(|(number, _)| number).or_else(|| {
        let (base, rest) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
            (Some(rest), _) => (RTMIN, rest),
            (_, Some(rest)) => (RTMAX, rest),
            (None, None) => return None,
        };
        let offset: i32 = if rest.is_empty() { 0 } else { rest.parse().ok()? };
        base.checked_add(offset).filter(|number| (RTMIN..=RTMAX).contains(number))
    })
}

/// Returns the name of a signal, such as `SIGTERM`.
pub fn signal_name(number: i32) -> String {
    let named = usize::try_from(number).ok().and_then(|number| SIGNALS.get(number.checked_sub(1)?));
    match named {
        Some(name) => format!("SIG{name}"),
        None if (RTMIN..=RTMAX).contains(&number) => format!("SIGRTMIN+{}", number - RTMIN),
        None => format!("signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_are_parsed() {
        for number in (1..=31).chain(RTMIN..=RTMAX) {
            assert_eq!(parse_signal(&signal_name(number)), Some(number));
            assert_eq!(parse_signal(&number.to_string()), Some(number));
        }
        assert_eq!((signal_name(15), signal_name(34)), ("SIGTERM".to_owned(), "SIGRTMIN+0".to_owned()));
        assert_eq!((signal_name(0), signal_name(-7)), ("signal 0".to_owned(), "signal -7".to_owned()));
        for wrong in ["", "0", "65", "SIG", "TERMINATE", "RTMIN+31", "-1"] {
            assert_eq!(parse_signal(wrong), None, "{wrong}");
        }
        assert_eq!(parse_signal("kill"), Some(9));
    }

    #[test]
    fn signals_have_names_and_numbers() {
        let known = [("SIGTERM", 15), ("usr1", 10), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-1", 63)];
        for (text, number) in known {
            assert_eq!(parse_signal(text), Some(number), "{text}");
        }
        for text in ["", "SIG", "0", "65", "-1", "SIGNO", "RTMIN-1", "RTMAX+1"] {
            assert_eq!(parse_signal(text), None, "{text}");
        }
    }
}
