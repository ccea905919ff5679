//! Problems of a sweep file, rendered beside the lines that cause them.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use plusminus_core::display_text;
use plusminus_core::input::Problem;

/// Renders `problems` of the file `name`, whose text is `text`, with colours; [`anstream`] strips them where needed.
pub fn render(name: &str, text: &str, problems: &[Problem]) -> String {
    // The library replaces control characters of the file's own lines.
    let name = display_text::line(name).to_string();
    let reports = problems.iter().map(|problem| {
        let [title, label] = [&problem.title, &problem.label].map(|text| display_text::line(text).to_string());
        let end = problem.span.end.min(text.len());
        let annotation = AnnotationKind::Primary.span(problem.span.start.min(end)..end).label(&label);
        let snippet = Snippet::source(text).path(&name).annotation(annotation);
        let mut group = Group::with_title(Level::ERROR.primary_title(&title)).element(snippet);
        if let Some(help) = &problem.help {
            let lines: Vec<String> = help.lines().map(|text| display_text::line(text).to_string()).collect();
            group = group.element(Level::HELP.message(lines.join("\n")));
        }
        Renderer::styled().render(&[group])
    });
    reports.collect::<Vec<_>>().join("\n\n") + "\n"
}
