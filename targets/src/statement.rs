//! Statements that users write for their databases, with places for user name, password and database in them.
//!
//! A text is read as its dialect reads it: quotes, comments and semicolons are told apart. A value is quoted for the
//! place that it stands in, so that no value can become part of the statement, and a semicolon splits only where the
//! database would see one. What can't be decided safely is refused when the text is given.

use zeroize::Zeroizing;

/// How a database reads its statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// With `standard_conforming_strings`.
    Postgres,
    /// Also MariaDB; with neither `ANSI_QUOTES` nor `NO_BACKSLASH_ESCAPES`.
    Mysql,
    /// Microsoft SQL Server with `QUOTED_IDENTIFIER`.
    Mssql,
    /// Oracle Database.
    Oracle,
}

impl Dialect {
    /// A name, quoted. `None` where the dialect can't write it.
    pub fn identifier(self, name: &str) -> Option<String> {
        let (open, close) = match self {
            Self::Postgres | Self::Oracle => ('"', '"'),
            Self::Mysql => ('`', '`'),
            Self::Mssql => ('[', ']'),
        };
        let mut quoted = String::with_capacity(name.len() + 2);
        quoted.push(open);
        self.push_identifier(&mut quoted, close, name)?;
        quoted.push(close);
        Some(quoted)
    }

    /// A string, quoted. The buffer is of its final size from the start, since it may hold a secret.
    pub fn literal(self, text: &str) -> Zeroizing<String> {
        let mut quoted = Zeroizing::new(String::with_capacity(text.len() * 2 + 2));
        quoted.push('\'');
        push_string(&mut quoted, '\'', self == Self::Mysql, text);
        quoted.push('\'');
        quoted
    }

    fn push_identifier(self, to: &mut String, close: char, name: &str) -> Option<()> {
        for character in name.chars() {
            if character == '\0' || character == close && self == Self::Oracle {
                return None;
            }
            if character == close {
                to.push(close);
            }
            to.push(character);
        }
        Some(())
    }
}

fn push_string(to: &mut String, quote: char, backslash: bool, text: &str) {
    for character in text.chars() {
        if character == quote || backslash && character == '\\' {
            to.push(character);
        }
        to.push(character);
    }
}

/// What a place stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Username,
    Password,
    Database,
}

/// Where a place stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// Outside of quotes.
    Bare,
    /// Inside of a quoted name that ends with this.
    Identifier(char),
    /// Inside of a quoted string.
    Text { quote: char, backslash: bool },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Fixed(String),
    /// `hashed`: the database takes a verifier in place of the password here.
    Place {
        name: Name,
        position: Position,
        hashed: bool,
    },
}

/// Why a text is not taken. The words are shown to the user, after the name of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadStatement {
    /// A variable that there is not, or a helper, or braces that do not close.
    #[error(
        "must have no other template variables than {{{{username}}}}, {{{{password}}}} and {{{{database}}}}"
    )]
    Variable,
    /// Nothing to set, or for nobody.
    #[error("must have both {{{{username}}}} and {{{{password}}}} in it")]
    Missing,
    /// A quote or a comment has no end.
    #[error("has a quote or a comment that does not end")]
    Open,
    /// A variable inside of a comment, of dollar quotes or of another quoting without an escape.
    #[error("must not have a variable inside of a comment or of a quoting that has no escapes")]
    Unsafe,
    /// What looks like a comment and is none.
    #[error("must not have comments that the server executes in it")]
    Executable,
    /// More than is sensible.
    #[error("must have at most {STATEMENTS_MAX} statements and {CHARACTERS_MAX} characters")]
    TooLong,
}

/// A value that the database has no way to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a value has a character that this database can't quote")]
pub struct Unquotable;

const STATEMENTS_MAX: usize = 16;
const CHARACTERS_MAX: usize = 8_192;

/// What is put in.
#[derive(Clone, Copy)]
pub struct Values<'a> {
    /// Whose password it is.
    pub username: &'a str,
    /// The new one.
    pub password: &'a str,
    /// What stands for it where the database takes that instead.
    pub verifier: Option<&'a str>,
    /// The connection's.
    pub database: &'a str,
}

/// One or several statements, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    dialect: Dialect,
    statements: Vec<Vec<Piece>>,
}

impl Script {
    /// Reads a text.
    pub fn parse(dialect: Dialect, text: &str) -> Result<Self, BadStatement> {
        if text.len() > CHARACTERS_MAX {
            return Err(BadStatement::TooLong);
        }
        let mut lexer =
            Lexer { dialect, rest: text, before: None, statements: Vec::new(), pieces: Vec::new() };
        lexer.run()?;
        let statements = lexer.statements;
        let has = |wanted| {
            let mut pieces = statements.iter().flatten();
            pieces.any(|piece| matches!(piece, Piece::Place { name, .. } if *name == wanted))
        };
        if !has(Name::Username) || !has(Name::Password) {
            return Err(BadStatement::Missing);
        }
        if statements.len() > STATEMENTS_MAX {
            return Err(BadStatement::TooLong);
        }
        Ok(Self { dialect, statements })
    }

    /// The statements with the values in them, in order.
    pub fn render(&self, values: Values<'_>) -> Result<Vec<Zeroizing<String>>, Unquotable> {
        self.statements.iter().map(|pieces| self.render_one(pieces, values)).collect()
    }

    fn render_one(&self, pieces: &[Piece], values: Values<'_>) -> Result<Zeroizing<String>, Unquotable> {
        let longest =
            [values.username, values.password, values.database, values.verifier.unwrap_or_default()];
        let longest = longest.iter().map(|value| value.len()).max().unwrap_or_default() * 2 + 2;
        let sizes = pieces.iter().map(|piece| match piece {
            Piece::Fixed(text) => text.len(),
            Piece::Place { .. } => longest,
        });
        let mut statement = Zeroizing::new(String::with_capacity(sizes.sum()));
        for piece in pieces {
            match piece {
                Piece::Fixed(text) => statement.push_str(text),
                Piece::Place { name, position, hashed } => {
                    let value = match name {
                        Name::Username => values.username,
                        Name::Database => values.database,
                        Name::Password => values.verifier.filter(|_| *hashed).unwrap_or(values.password),
                    };
                    self.put(&mut statement, *name, *position, value).ok_or(Unquotable)?;
                }
            }
        }
        Ok(statement)
    }

    fn put(&self, statement: &mut String, name: Name, position: Position, value: &str) -> Option<()> {
        match position {
            Position::Identifier(close) => self.dialect.push_identifier(statement, close, value),
            Position::Text { quote, backslash } => {
                push_string(statement, quote, backslash, value);
                Some(())
            }
            // An Oracle Database takes passwords as it takes names.
            Position::Bare if name == Name::Password && self.dialect != Dialect::Oracle => {
                statement.push_str(&self.dialect.literal(value));
                Some(())
            }
            Position::Bare => {
                statement.push_str(&Zeroizing::new(self.dialect.identifier(value)?));
                Some(())
            }
        }
    }
}

struct Lexer<'a> {
    dialect: Dialect,
    rest: &'a str,
    /// The character before `rest`.
    before: Option<char>,
    statements: Vec<Vec<Piece>>,
    pieces: Vec<Piece>,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), BadStatement> {
        while let Some(next) = self.rest.chars().next() {
            if self.rest.starts_with("{{") {
                let hashed = self.after_password();
                self.place(Position::Bare, hashed)?;
            } else if let Some(skipped) = self.comment()? {
                self.rest = &self.rest[skipped..];
                self.fixed(" ");
            } else if next == ';' {
                self.rest = &self.rest[1..];
                self.end();
            } else if let Some(length) = self.unescaped()? {
                self.take(length);
            } else if let Some((position, hashed)) = self.quote(next) {
                self.quoted(position, hashed)?;
            } else {
                self.take(next.len_utf8());
            }
        }
        self.end();
        Ok(())
    }

    /// Takes over so many bytes as they are.
    fn take(&mut self, length: usize) {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.fixed(taken);
    }

    fn fixed(&mut self, text: &str) {
        self.before = text.chars().next_back();
        if let Some(Piece::Fixed(last)) = self.pieces.last_mut() {
            last.push_str(text);
        } else {
            self.pieces.push(Piece::Fixed(text.to_owned()));
        }
    }

    fn end(&mut self) {
        let pieces = std::mem::take(&mut self.pieces);
        let blank = |piece: &Piece| matches!(piece, Piece::Fixed(text) if text.trim().is_empty());
        if !pieces.iter().all(blank) {
            self.statements.push(pieces);
        }
        self.before = None;
    }

    fn place(&mut self, position: Position, hashed: bool) -> Result<(), BadStatement> {
        let (inside, rest) = self.rest[2..].split_once("}}").ok_or(BadStatement::Variable)?;
        let name = match inside.trim() {
            "username" => Name::Username,
            "password" => Name::Password,
            "database" => Name::Database,
            _ => return Err(BadStatement::Variable),
        };
        self.rest = rest;
        self.before = Some('}');
        self.pieces.push(Piece::Place { name, position, hashed: hashed && name == Name::Password });
        Ok(())
    }

    /// The bytes of a comment that begins here.
    fn comment(&self) -> Result<Option<usize>, BadStatement> {
        let rest = self.rest;
        let line = match self.dialect {
            Dialect::Mysql => {
                rest.starts_with('#')
                    || rest.strip_prefix("--").is_some_and(|after| {
                        after.chars().next().is_none_or(|c| c.is_whitespace() || c.is_control())
                    })
            }
            _ => rest.starts_with("--"),
        };
        let length = if line {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            if self.dialect == Dialect::Mysql && (rest.starts_with("/*!") || rest.starts_with("/*M!")) {
                return Err(BadStatement::Executable);
            }
            let nested = matches!(self.dialect, Dialect::Postgres | Dialect::Mssql);
            block_comment(rest, nested).ok_or(BadStatement::Open)?
        } else {
            return Ok(None);
        };
        if rest[..length].contains("{{") { Err(BadStatement::Unsafe) } else { Ok(Some(length)) }
    }

    /// The bytes of a quoting that begins here and knows no escape.
    fn unescaped(&self) -> Result<Option<usize>, BadStatement> {
        let after_word = self.before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$');
        let length = match self.dialect {
            Dialect::Postgres if !after_word => dollar_quoted(self.rest)?,
            Dialect::Oracle if !after_word => alternative_quoted(self.rest)?,
            _ => None,
        };
        match length {
            Some(length) if self.rest[..length].contains("{{") => Err(BadStatement::Unsafe),
            length => Ok(length),
        }
    }

    /// What a quote that begins here is, and whether a password in it may be a verifier.
    fn quote(&self, next: char) -> Option<(Position, bool)> {
        let string = |backslash| Some(Position::Text { quote: next, backslash });
        let position = match (self.dialect, next) {
            (Dialect::Mysql, '\'' | '"') => string(true),
            (Dialect::Postgres, '\'') => string(self.has_prefix(&["e", "u&"])),
            (_, '\'') => string(false),
            (Dialect::Mysql, '`') | (Dialect::Postgres | Dialect::Mssql | Dialect::Oracle, '"') => {
                Some(Position::Identifier(next))
            }
            (Dialect::Mssql, '[') => Some(Position::Identifier(']')),
            _ => None,
        };
        position.map(|position| (position, self.after_password()))
    }

    /// Whether one of these stands right before, and is no part of a longer word.
    fn has_prefix(&self, prefixes: &[&str]) -> bool {
        let Some(Piece::Fixed(text)) = self.pieces.last() else { return false };
        prefixes.iter().any(|prefix| {
            let Some(at) = text.len().checked_sub(prefix.len()) else { return false };
            text.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(prefix))
                && !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$')
        })
    }

    /// Whether what begins here is the password of an `ALTER` or `CREATE` in PostgreSQL, which takes a verifier.
    fn after_password(&self) -> bool {
        let Some(Piece::Fixed(text)) = self.pieces.last() else { return false };
        let first = self.pieces.iter().find_map(|piece| match piece {
            Piece::Fixed(text) if !text.trim().is_empty() => text.split_whitespace().next(),
            _ => None,
        });
        let ends = |text: &str| {
            let word = text.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next();
            word.is_some_and(|word| word.eq_ignore_ascii_case("password"))
        };
        self.dialect == Dialect::Postgres
            && first.is_some_and(|word| ["alter", "create"].iter().any(|w| word.eq_ignore_ascii_case(w)))
            && text.ends_with(char::is_whitespace)
            && ends(text.trim_end())
    }

    /// From an opening quote to its end.
    fn quoted(&mut self, position: Position, after_password: bool) -> Result<(), BadStatement> {
        let unicode_name = matches!(position, Position::Identifier('"')) && self.has_prefix(&["u&"]);
        let (close, backslash) = match position {
            Position::Text { quote, backslash } => (quote, backslash),
            Position::Identifier(close) => (close, false),
            Position::Bare => return Ok(()),
        };
        self.take(1);
        let mut first = true;
        loop {
            let next = self.rest.chars().next().ok_or(BadStatement::Open)?;
            if self.rest.starts_with("{{") {
                if unicode_name {
                    return Err(BadStatement::Unsafe);
                }
                // A verifier stands for the whole password, not for a part of a string.
                let whole = self.rest.split_once("}}").is_some_and(|(_, after)| after.starts_with(close));
                self.place(position, after_password && first && whole)?;
            } else if backslash && next == '\\' {
                let escaped = self.rest.chars().nth(1).ok_or(BadStatement::Open)?;
                if self.rest[1..].starts_with("{{") {
                    return Err(BadStatement::Unsafe);
                }
                self.take(1 + escaped.len_utf8());
            } else if next == close {
                self.take(1);
                let doubled = self.rest.starts_with(close) && self.dialect_doubles(close);
                if !doubled {
                    return Ok(());
                }
                self.take(1);
            } else {
                self.take(next.len_utf8());
            }
            first = false;
        }
    }

    fn dialect_doubles(&self, close: char) -> bool {
        self.dialect != Dialect::Oracle || close != '"'
    }
}

fn block_comment(text: &str, nested: bool) -> Option<usize> {
    let (mut at, mut depth) = (2, 1);
    loop {
        let rest = text.get(at..)?;
        if rest.starts_with("*/") {
            (at, depth) = (at + 2, depth - 1);
            if depth == 0 {
                return Some(at);
            }
        } else if nested && rest.starts_with("/*") {
            (at, depth) = (at + 2, depth + 1);
        } else {
            at += rest.chars().next()?.len_utf8();
        }
    }
}

/// `$tag$…$tag$`
fn dollar_quoted(text: &str) -> Result<Option<usize>, BadStatement> {
    let Some(after) = text.strip_prefix('$') else { return Ok(None) };
    let Some(tag) = after.find('$') else { return Ok(None) };
    let name = &after[..tag];
    let fits = name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if !fits {
        return Ok(None);
    }
    let quote = &text[..tag + 2];
    let end = text[quote.len()..].find(quote).ok_or(BadStatement::Open)?;
    Ok(Some(end + 2 * quote.len()))
}

/// `q'[…]'`
fn alternative_quoted(text: &str) -> Result<Option<usize>, BadStatement> {
    let prefix =
        ["q'", "nq'"].into_iter().find(|p| text.get(..p.len()).is_some_and(|t| t.eq_ignore_ascii_case(p)));
    let Some(prefix) = prefix else { return Ok(None) };
    let open = text[prefix.len()..].chars().next().ok_or(BadStatement::Open)?;
    let close = match open {
        '[' => ']',
        '{' => '}',
        '(' => ')',
        '<' => '>',
        other => other,
    };
    let end: String = [close, '\''].into_iter().collect();
    let start = prefix.len() + open.len_utf8();
    let length = text[start..].find(&end).ok_or(BadStatement::Open)?;
    Ok(Some(start + length + end.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str = r#"a'b"c`d\e]f;--"#;

    fn render(dialect: Dialect, text: &str) -> Vec<String> {
        let values = Values { username: EVIL, password: EVIL, verifier: Some("SCRAM$x"), database: "d" };
        let statements = Script::parse(dialect, text).unwrap().render(values).unwrap();
        statements.iter().map(|s| (**s).clone()).collect()
    }

    #[test]
    fn a_value_is_quoted_for_the_place_that_it_stands_in() {
        for (dialect, text, rendered) in [
            (
                Dialect::Postgres,
                r#"ALTER USER "{{username}}" WITH PASSWORD '{{password}}'"#,
                r#"ALTER USER "a'b""c`d\e]f;--" WITH PASSWORD 'SCRAM$x'"#,
            ),
            (
                Dialect::Postgres,
                "alter role {{username}} password {{ password }}",
                r#"alter role "a'b""c`d\e]f;--" password 'SCRAM$x'"#,
            ),
            (
                Dialect::Postgres,
                "SELECT set_it('{{username}}', E'{{password}}', '{{database}}')",
                r#"SELECT set_it('a''b"c`d\e]f;--', E'a''b"c`d\\e]f;--', 'd')"#,
            ),
            // No verifier for a part of a string, nor where no password clause is.
            (
                Dialect::Postgres,
                "ALTER USER {{username}} PASSWORD 'x{{password}}'",
                r#"ALTER USER "a'b""c`d\e]f;--" PASSWORD 'xa''b"c`d\e]f;--'"#,
            ),
            (
                Dialect::Mysql,
                "ALTER USER '{{username}}'@'%' IDENTIFIED BY \"{{password}}\"",
                r#"ALTER USER 'a''b"c`d\\e]f;--'@'%' IDENTIFIED BY "a'b""c`d\\e]f;--""#,
            ),
            (
                Dialect::Mysql,
                "ALTER USER `{{username}}` IDENTIFIED BY {{password}}",
                r#"ALTER USER `a'b"c``d\e]f;--` IDENTIFIED BY 'a''b"c`d\\e]f;--'"#,
            ),
            (
                Dialect::Mssql,
                "ALTER LOGIN [{{username}}] WITH PASSWORD = N'{{password}}'",
                r#"ALTER LOGIN [a'b"c`d\e]]f;--] WITH PASSWORD = N'a''b"c`d\e]f;--'"#,
            ),
        ] {
            assert_eq!(render(dialect, text), [rendered], "{text}");
        }
    }

    #[test]
    fn a_name_that_oracle_cannot_write_is_refused() {
        let script =
            Script::parse(Dialect::Oracle, r#"ALTER USER "{{username}}" IDENTIFIED BY {{password}}"#)
                .unwrap();
        let values = |password| Values { username: "U", password, verifier: None, database: "d" };
        assert_eq!(*script.render(values("p;w")).unwrap()[0], r#"ALTER USER "U" IDENTIFIED BY "p;w""#);
        assert_eq!(script.render(values("p\"w")), Err(Unquotable));
    }

    #[test]
    fn a_semicolon_splits_only_where_the_database_sees_one() {
        let text = "SET x = ';'; -- a; b\nDO $a$ begin; $b$ end; $a$ /* ; /* ; */ */;;\n \
                    ALTER USER {{username}} PASSWORD '{{password}}';";
        let statements = render(Dialect::Postgres, text);
        assert_eq!(statements.len(), 3, "{statements:?}");
        assert_eq!(statements[0], "SET x = ';'");
        assert_eq!(statements[1].trim(), "DO $a$ begin; $b$ end; $a$");
        let text = "SELECT 'a\\';b', \"c\";\"d\" # e;\n, `f;`, 1--1; SELECT '{{username}}{{password}}'";
        assert_eq!(render(Dialect::Mysql, text).len(), 3);
        let text =
            "SELECT q'[it's; so]' FROM dual; ALTER USER {{username}} IDENTIFIED BY x{{database}}{{password}}";
        let script = Script::parse(Dialect::Oracle, text).unwrap();
        assert_eq!(script.statements.len(), 2);
    }

    #[test]
    fn what_cannot_be_decided_is_refused() {
        let both = "{{username}} {{password}}";
        for (dialect, text, why) in [
            (Dialect::Postgres, "ALTER USER {{username}}".to_owned(), BadStatement::Missing),
            (Dialect::Postgres, "{{password}}".to_owned(), BadStatement::Missing),
            (Dialect::Postgres, format!("{both} {{{{{{password}}}}}}"), BadStatement::Variable),
            (Dialect::Postgres, format!("{both} {{{{#if a}}}}"), BadStatement::Variable),
            (Dialect::Postgres, format!("{both} {{{{host}}}}"), BadStatement::Variable),
            (Dialect::Postgres, format!("{both} {{{{"), BadStatement::Variable),
            (Dialect::Postgres, format!("{both} 'a"), BadStatement::Open),
            (Dialect::Postgres, format!("{both} /* a"), BadStatement::Open),
            (Dialect::Postgres, format!("{both} $a$ x $b$"), BadStatement::Open),
            (Dialect::Postgres, format!("{both} -- {{{{password}}}}"), BadStatement::Unsafe),
            (Dialect::Postgres, format!("{both} $$ {{{{password}}}} $$"), BadStatement::Unsafe),
            (Dialect::Postgres, format!("{both} E'\\{{{{password}}}}'"), BadStatement::Unsafe),
            (Dialect::Postgres, format!("{both} U&\"{{{{username}}}}\""), BadStatement::Unsafe),
            (Dialect::Oracle, format!("{both} q'[{{{{password}}}}]'"), BadStatement::Unsafe),
            (Dialect::Mysql, format!("{both} /*!50000 x */"), BadStatement::Executable),
            (Dialect::Mysql, format!("{both} /*M! x */"), BadStatement::Executable),
            (Dialect::Mysql, format!("{both} {}", "x".repeat(9_000)), BadStatement::TooLong),
            (Dialect::Mysql, format!("{both} {}", "x;".repeat(17)), BadStatement::TooLong),
        ] {
            assert_eq!(Script::parse(dialect, &text), Err(why), "{text}");
        }
    }
}
