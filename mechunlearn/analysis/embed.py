"""A report in a notebook: verdicts and a table, in the notebook's own look."""

from jinja2 import Environment

from mechunlearn.analysis.columns import columns
from mechunlearn.analysis.records import ReportFile
from mechunlearn.analysis.words import name

_TEMPLATE = """<div>
{% for m in report.unlearned if m.verdict %}<p><b>{{ m.label }}: {{ m.verdict.category }} \
(control tier {{ m.verdict.tier }}).</b> {{ m.verdict.text }}</p>
{% endfor %}<table>
<thead><tr><th>model<th>attack{% for c in columns %}<th>{{ c.heading }}{% endfor %}

</thead>
<tbody>
{% for r in report.rows %}<tr><td>{{ r.model }}<td>{{ name(r.attack) }}
{% for c in columns %}<td>{{ c.text(r) }}{% endfor %}

{% endfor %}</tbody></table>
<p>Forget questions of the confirm fold; 95 % intervals in brackets; recovery is net of the
control.</p></div>"""


def embedded(report: ReportFile) -> str:
    """The report as HTML without style or script; everything from models and data is escaped."""
    template = Environment(autoescape=True).from_string(_TEMPLATE)
    return template.render(report=report, columns=columns("brief"), name=name)
