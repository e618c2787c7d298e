"""A report in a notebook: verdicts and a table, in the notebook's own look."""

from jinja2 import Environment

from mechunlearn.analysis.records import Report
from mechunlearn.report.headline import headline, tested
from mechunlearn.report.words import name, percent

_TEMPLATE = """<div>
{% for h in headlines %}<p><b>{{ h.model }}: {{ h.category }}.</b> {{ h.verdict }}</p>
{% endfor %}<table>
<thead><tr><th>model<th>attack<th>accuracy %<th>recovery %<th>sham %<th>control %<th>retain %
</thead>
<tbody>
{% for r in rows %}<tr><td>{{ r.unlearned }}<td>{{ name(r.attack) }}
<td>{{ percent(r.accuracy, r.accuracy_ci) }}<td>{{ percent(r.recovery, r.recovery_ci) }}
<td>{{ percent(r.sham_accuracy) }}<td>{{ percent(r.control_accuracy) }}
<td>{{ percent(r.retain_accuracy) }}
{% endfor %}</tbody></table>
<p>Forget questions of the confirm fold; 95 % intervals in brackets; recovery is net of the
control.</p></div>"""


def embedded(report: Report) -> str:
    """The report as HTML without style or script; everything from models and data is escaped."""
    return (
        Environment(autoescape=True)
        .from_string(_TEMPLATE)
        .render(
            headlines=[headline(report, m) for m in tested(report)],
            rows=report.rows,
            name=name,
            percent=percent,
        )
    )
