//! Which of Redis' ACL rules a user may give: those about commands, keys and channels. A rule about passwords or about
//! whether the account is on would undo what a rotation does.

/// Checks rules that blanks divide. The word that is none, otherwise.
pub(crate) fn check(rules: &str) -> Result<(), &str> {
    let mut selector = false;
    for word in rules.split_whitespace() {
        let (inner, opens) = match word.strip_prefix('(') {
            Some(inner) if !selector => (inner, true),
            Some(_) => return Err(word),
            None => (word, false),
        };
        selector |= opens;
        let (inner, closes) = match inner.strip_suffix(')') {
            Some(inner) if selector => (inner, true),
            Some(_) if !is_rule(word) => return Err(word),
            _ => (inner, false),
        };
        let empty = inner.is_empty() && (opens || closes);
        if !empty && !is_rule(inner) {
            return Err(word);
        }
        selector &= !closes;
    }
    if selector { Err(rules) } else { Ok(()) }
}

fn is_rule(word: &str) -> bool {
    let words = ["allkeys", "resetkeys", "allchannels", "resetchannels", "allcommands", "nocommands"];
    let listed = words.iter().any(|known| word.eq_ignore_ascii_case(known));
    let marked = word.starts_with(['~', '%', '&', '+', '-']) && word.len() > 1;
    (listed || marked) && word.chars().all(|c| !c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_about_anything_but_commands_keys_and_channels_are_refused() {
        for good in
            ["~* +@all", "allkeys  +get -@dangerous &chan:*", "%R~a:* +get (+set ~b:*) (~c +x )", "~a)"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, word) in [
            ("~* nopass", "nopass"),
            ("~* NOPASS", "NOPASS"),
            (">secret +@all", ">secret"),
            ("<secret", "<secret"),
            ("#abc", "#abc"),
            ("!abc", "!abc"),
            ("~* on", "on"),
            ("~* off", "off"),
            ("reset ~*", "reset"),
            ("resetpass", "resetpass"),
            ("clearselectors", "clearselectors"),
            ("(>x)", "(>x)"),
            ("(+get (+set))", "(+set))"),
            ("(+get ~a", "(+get ~a"),
            ("+", "+"),
        ] {
            assert_eq!(check(bad), Err(word), "{bad}");
        }
    }
}
