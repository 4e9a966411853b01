//! The words of a command, as far as they say that one of them is a script of its own.

/// Programs that take a script behind `-c`.
const SHELLS: [&str; 13] = [
    "sh", "ash", "bash", "dash", "fish", "ksh", "mksh", "yash", "zsh", "su", "runuser", "flock",
    "script",
];
/// What reads all of its arguments as a script.
const EVALUATORS: [&str; 6] = ["eval", "trap", "alias", "ssh", "watch", "parallel"];

/// What the words so far make of those that follow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Words,
    /// A shell was named: behind `-c` comes a script.
    Shell,
    /// The next word is a script.
    Script,
    Scripts,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Words {
    word: Option<String>,
    next: Next,
    /// A word of this command has ended.
    has_begun: bool,
    follows_pipe: bool,
    feeds_a_shell: bool,
}

impl Words {
    pub(super) fn in_word(&self) -> bool {
        self.word.is_some()
    }

    /// A quote opened: even `''` is a word.
    pub(super) fn begin(&mut self) {
        self.word.get_or_insert_default();
    }

    pub(super) fn push(&mut self, character: char) {
        self.word.get_or_insert_default().push(character);
    }

    pub(super) fn push_value(&mut self, value: &str) {
        self.word.get_or_insert_default().push_str(value);
    }

    pub(super) fn is(&self, text: &str) -> bool {
        self.word.as_deref() == Some(text)
    }

    /// Whether the word that is being read is a script.
    pub(super) fn is_script(&self) -> bool {
        matches!(self.next, Next::Script | Next::Scripts)
    }

    /// Whether the command is a shell, so that its input is a script.
    pub(super) fn name_a_shell(&self) -> bool {
        self.next != Next::Words
    }

    /// Whether a pipe of the script so far ends in a shell.
    pub(super) fn feed_a_shell(&self) -> bool {
        self.feeds_a_shell
    }

    pub(super) fn end_word(&mut self) {
        if let Some(word) = self.word.take() {
            // A shell whose name only the script knows: `$SHELL -c`.
            let may_be_shell = !self.has_begun && word.starts_with('$');
            self.take(&word, may_be_shell);
        }
    }

    /// One argument of a list, which no shell reads.
    pub(super) fn argument(&mut self, argument: &str) {
        self.take(argument, false);
    }

    /// Whether this argument of a list is a script.
    pub(super) fn makes_a_script_of(&self, argument: &str) -> bool {
        match self.next {
            Next::Script => !is_option(argument),
            Next::Scripts => true,
            Next::Words | Next::Shell => false,
        }
    }

    /// A redirection may stand before the script as well as behind it.
    pub(super) fn redirect(&mut self) {
        self.end_word();
        if self.next == Next::Script {
            self.next = Next::Scripts;
        }
    }

    fn take(&mut self, word: &str, may_be_shell: bool) {
        self.has_begun = true;
        let name = word.rsplit('/').next().unwrap_or(word);
        self.next = match self.next {
            Next::Scripts => Next::Scripts,
            _ if EVALUATORS.contains(&name) => Next::Scripts,
            _ if SHELLS.contains(&name) || may_be_shell => Next::Shell,
            Next::Shell if takes_script(word) => Next::Script,
            Next::Script if !is_option(word) => Next::Words,
            unchanged => unchanged,
        };
        self.feeds_a_shell |= self.follows_pipe && self.name_a_shell();
    }

    pub(super) fn end_command(&mut self) {
        self.next = Next::Words;
        self.has_begun = false;
        self.follows_pipe = false;
    }

    pub(super) fn after_pipe(&mut self, is_pipe: bool) {
        self.follows_pipe = is_pipe;
    }

    /// Takes over what the commands inside `$(…)` said of the whole script.
    pub(super) fn inherit(&mut self, inner: &Self) {
        self.feeds_a_shell |= inner.feeds_a_shell;
    }
}

fn is_option(word: &str) -> bool {
    word.starts_with(['-', '+'])
}

/// `-c`, `-ec`, `-lc`; `--command` of `su`.
fn takes_script(word: &str) -> bool {
    match word.strip_prefix("--") {
        Some(long) => long == "command",
        None => word.starts_with('-') && word.contains('c'),
    }
}
