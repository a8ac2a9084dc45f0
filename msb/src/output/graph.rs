//! A graph of steps or of sandboxes, as DOT, SVG or JSON.

use crate::error::CliError;
use layout::backends::svg::SVGWriter;
use layout::core::base::Orientation;
use layout::core::geometry::Point;
use layout::core::style::StyleAttr;
use layout::std_shapes::shapes::{Arrow, Element, ShapeKind};
use layout::topo::layout::VisualGraph;
use schemas::model::Model;
use schemas::plan::PlanGraph;
use serde::Serialize;
use std::collections::BTreeMap;

/// Version of the JSON format.
const GRAPH_VERSION: u32 = 1;

/// Maximum nodes and edges of a drawing: a larger one takes minutes to lay out and is unreadable.
const DRAWN_MAX: usize = 600;
/// Maximum nodes and edges to lay out with crossings minimized, which is slow for more.
const ARRANGED_MAX: usize = 60;

// Sizes in the units of the drawing.
const CHARACTER_WIDTH: f64 = 9.0;
const NODE_PADDING: f64 = 24.0;
const NODE_HEIGHT: f64 = 32.0;

/// The subject of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The steps of a plan: an edge points from a step to one that runs after it.
    Plan,
    /// The sandboxes of a project: an edge points from a sandbox to one that depends on it.
    Project,
}

/// A graph.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize)]
pub struct Graph {
    version: u32,
    kind: Kind,
    project: String,
    nodes: Vec<String>,
    edges: Vec<Edge>,
}

/// An edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, schemars::JsonSchema, Serialize)]
struct Edge {
    from: String,
    to: String,
    /// The condition of a dependency.
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<String>,
}

/// Returns the graph of a plan's steps.
pub fn of_plan(plan: &PlanGraph) -> Graph {
    let nodes = plan.steps.keys().map(ToString::to_string).collect();
    let edges = plan.steps.iter().flat_map(|(id, step)| {
        step.after.iter().map(|before| Edge { from: before.to_string(), to: id.to_string(), condition: None })
    });
    Graph::new(Kind::Plan, plan.project.to_string(), nodes, edges.collect())
}

/// Returns the graph of a project's sandboxes.
pub fn of_project(model: &Model) -> Graph {
    let nodes = model.sandboxes().iter().map(|sandbox| sandbox.name().to_string()).collect();
    let edges = model.sandboxes().iter().flat_map(|sandbox| {
        sandbox.definition().depends_on.iter().map(|(on, condition)| Edge {
            from: on.to_string(),
            to: sandbox.name().to_string(),
            condition: Some(condition.to_string()),
        })
    });
    Graph::new(Kind::Project, model.project().to_string(), nodes, edges.collect())
}

impl Graph {
    fn new(kind: Kind, project: String, nodes: Vec<String>, mut edges: Vec<Edge>) -> Self {
        edges.sort();
        Self { version: GRAPH_VERSION, kind, project, nodes, edges }
    }

    /// Formats the graph for Graphviz.
    pub fn dot(&self) -> String {
        let Self { version: _, kind: _, project, nodes, edges } = self;
        let mut text = format!(
            "digraph {} {{\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n",
            quote(project)
        );
        for node in nodes {
            text.push_str(&format!("  {};\n", quote(node)));
        }
        for Edge { from, to, condition } in edges {
            let label = condition.as_ref().map(|text| format!(" [label={}]", quote(text)));
            text.push_str(&format!("  {} -> {}{};\n", quote(from), quote(to), label.unwrap_or_default()));
        }
        text.push_str("}\n");
        text
    }

    /// Draws the graph as SVG.
    ///
    /// # Errors
    ///
    /// If there are more than [`DRAWN_MAX`] nodes and edges.
    pub fn svg(&self) -> Result<String, CliError> {
        let Self { version: _, kind: _, project: _, nodes, edges } = self;
        let size = nodes.len() + edges.len();
        if size > DRAWN_MAX {
            let (nodes, edges) = (nodes.len(), edges.len());
            let message = format!("a drawing of {nodes} nodes and {edges} edges would be too large to read");
            return Err(CliError::new(message)
                .hint("select fewer sandboxes, or draw --format dot with another program"));
        }
        let mut picture = VisualGraph::new(Orientation::LeftToRight);
        let mut handles = BTreeMap::new();
        for node in nodes {
            let label = plain(node);
            let width = label.chars().map(|_| CHARACTER_WIDTH).sum::<f64>() + NODE_PADDING;
            let shape = ShapeKind::new_box(&label);
            let place = Point::new(width, NODE_HEIGHT);
            let element = Element::create(shape, StyleAttr::simple(), Orientation::LeftToRight, place);
            handles.insert(node.as_str(), picture.add_node(element));
        }
        for Edge { from, to, condition } in edges {
            if let (Some(from), Some(to)) = (handles.get(from.as_str()), handles.get(to.as_str())) {
                picture.add_edge(Arrow::simple(condition.as_deref().unwrap_or("")), *from, *to);
            }
        }
        let mut svg = SVGWriter::new();
        // The crate cannot lay out an empty graph.
        if !nodes.is_empty() {
            picture.do_it(false, size > ARRANGED_MAX, false, &mut svg);
        }
        Ok(svg.finalize() + "\n")
    }
}

/// Quotes a text for DOT, in which only quotes and backslashes are special.
fn quote(text: &str) -> String {
    format!("\"{}\"", plain(text).replace('\\', "\\\\").replace('"', "\\\""))
}

/// Replaces control characters, which XML forbids.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(nodes: &[&str], edges: &[(&str, &str)]) -> Graph {
        let edge = |&(from, to): &(&str, &str)| Edge {
            from: from.to_owned(),
            to: to.to_owned(),
            condition: Some("started".to_owned()),
        };
        let nodes = nodes.iter().map(|&node| node.to_owned()).collect();
        Graph::new(Kind::Project, "shop".to_owned(), nodes, edges.iter().map(edge).collect())
    }

    #[test]
    fn dot_is_quoted() {
        let dot = graph(&["a\"b\\", "web"], &[("web", "a\"b\\")]).dot();
        insta::assert_snapshot!(dot, @r#"
        digraph "shop" {
          rankdir=LR;
          node [shape=box, fontname="sans-serif"];
          "a\"b\\";
          "web";
          "web" -> "a\"b\\" [label="started"];
        }
        "#);
    }

    #[test]
    fn labels_are_escaped_in_svg() {
        let svg = graph(&["<script>&\u{1b}\n", "web"], &[("web", "<script>&\u{1b}\n")]).svg().unwrap();
        assert!(svg.contains("&lt;script&gt;&amp;") && !svg.contains("<script"), "{svg}");
        assert!(!svg.contains('\u{1b}'));
        assert_eq!(svg.matches("<rect").count(), 2, "{svg}");
    }

    #[test]
    fn graphs_above_the_limit_are_rejected() {
        for count in [0, 1, 2, 40, 300] {
            let names: Vec<String> = (0..count).map(|number| format!("s{number}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let chain: Vec<_> = names.windows(2).map(|pair| (pair[0], pair[1])).collect();
            let svg = graph(&names, &chain).svg().unwrap();
            assert!(names.iter().all(|name| svg.contains(&format!(">{name}<"))), "{count}: {svg}");
            assert_eq!(svg, graph(&names, &chain).svg().unwrap());
        }
        let names: Vec<String> = (0..=DRAWN_MAX).map(|number| format!("s{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let error = graph(&names, &[]).svg().unwrap_err();
        assert_eq!(error.message, "a drawing of 601 nodes and 0 edges would be too large to read");
    }
}
