//! The tree that both formats are printed from: named values, and the position of each.

/// The value of a property of a sandbox.
pub(crate) enum Printed {
    /// A default that is not printed.
    Nothing,
    /// One value.
    One(Node),
    /// KDL: a node for each, with its name first. YAML: a map.
    Named(Vec<(Name, Node)>),
    /// KDL: a node for each. YAML: a list.
    List(Vec<Node>),
}

/// A value.
pub(crate) enum Node {
    /// A single value.
    Scalar(Scalar),
    /// Several values.
    Words(Vec<Scalar>),
    /// YAML only: several values, each on a line of its own.
    Lines(Vec<Node>),
    /// Named values.
    Map {
        /// The values.
        items: Vec<Item>,
        /// YAML: whether they are written on one line, in braces.
        is_flow: bool,
    },
}

/// A named value inside another one.
pub(crate) struct Item {
    /// Its name.
    pub name: Name,
    /// Its position in KDL.
    pub position: Position,
    /// The value.
    pub node: Node,
}

/// The position of a named value in KDL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    /// After the node's name, without a name of its own.
    Argument,
    /// After the node's name, as `name=value`.
    Property,
    /// In the block, as a node.
    Child,
}

/// A name.
pub(crate) enum Name {
    /// A word of the language, as KDL spells it.
    Word(&'static str),
    /// A name that the user chose.
    Key(String),
}

/// A value without a name.
pub(crate) enum Scalar {
    /// A text, in which nothing is a variable.
    Text(String),
    /// A text that may have several lines, and whose dollar signs are a shell's.
    Script(String),
    /// A number with a unit.
    Quantity(String),
    /// A number.
    Number(u32),
    /// A truth value.
    Flag(bool),
}

impl Scalar {
    /// Returns a text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

impl Node {
    /// Returns a text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Scalar(Scalar::text(text))
    }

    /// Returns a number.
    pub fn number(number: &u32) -> Self {
        Self::Scalar(Scalar::Number(*number))
    }

    /// Returns the words of a command, or any other list of texts.
    pub fn words<T: ToString>(words: impl IntoIterator<Item = T>) -> Self {
        Self::Words(words.into_iter().map(|word| Scalar::Text(word.to_string())).collect())
    }

    /// Returns named values, each on a line of its own in YAML.
    pub fn block(items: Vec<Item>) -> Self {
        Self::Map { items, is_flow: false }
    }

    /// Returns named values, on one line in YAML.
    pub fn flow(items: Vec<Item>) -> Self {
        Self::Map { items, is_flow: true }
    }
}

impl Item {
    /// Returns a value without a name of its own in KDL.
    pub fn argument(name: &'static str, scalar: Scalar) -> Self {
        Self { name: Name::Word(name), position: Position::Argument, node: Node::Scalar(scalar) }
    }

    /// Returns a value as a property.
    pub fn property(name: &'static str, scalar: Scalar) -> Self {
        Self { name: Name::Word(name), position: Position::Property, node: Node::Scalar(scalar) }
    }

    /// Returns a value in the block.
    pub fn child(name: &'static str, node: Node) -> Self {
        Self { name: Name::Word(name), position: Position::Child, node }
    }
}
