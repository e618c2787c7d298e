// The question browser. Text from questions and models enters the page as text only.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  if (!data.sets) return;
  const STEP = 25;
  const by = (id) => document.getElementById(id);
  const [model, outcome, topic, set, text] = ["model", "outcome", "topic", "set", "text"].map((k) => by(`by-${k}`));
  const words = (key) => key.replaceAll("_", " ");
  const make = (tag, content = "", className = "") => {
    const made = document.createElement(tag);
    made.textContent = content;
    if (className) made.className = className;
    return made;
  };
  const options = (select, entries) => {
    const before = select.value;
    select.replaceChildren(
      ...entries.map(([value, label]) => Object.assign(make("option", label), { value })),
    );
    if (entries.some(([value]) => value === before)) select.value = before;
  };
  const attacksOf = () => Object.keys(data.attacked[model.value] || {});
  const said = (attack) => data.attacked[model.value][attack][set.value];

  const offer = () => {
    options(outcome, [
      ["all", "all questions"],
      ["lost", "lost by unlearning"],
      ["some", "lost, brought back by some attack"],
      ["none", "lost, brought back by no attack"],
      ...attacksOf().map((a) => [`back ${a}`, `lost, brought back by ${words(a)}`]),
      ...attacksOf().map((a) => [`wrong ${a}`, `right before, wrong under ${words(a)}`]),
    ]);
    const topics = [...new Set(data.sets[set.value].topic)].sort();
    options(topic, [["", "all topics"], ...topics.filter(Boolean).map((t) => [t, t])]);
  };

  const matches = () => {
    const asked = data.sets[set.value];
    const right = asked.answer;
    const before = data.models[data.original][set.value];
    const after = data.models[model.value][set.value];
    const under = attacksOf().map(said).filter(Boolean);
    const [kind, attack] = outcome.value.split(" ");
    const one = attack && said(attack);
    const lost = (i) => before[i] === right[i] && after[i] !== right[i];
    const passes = {
      all: () => true,
      lost,
      some: (i) => lost(i) && under.some((u) => u[i] === right[i]),
      none: (i) => lost(i) && !under.some((u) => u[i] === right[i]),
      back: (i) => one && lost(i) && one[i] === right[i],
      wrong: (i) => one && after[i] === right[i] && one[i] !== "." && one[i] !== right[i],
    }[kind];
    const wanted = text.value.trim().toLowerCase();
    const found = [];
    for (let i = 0; i < right.length; i++) {
      if (topic.value && asked.topic[i] !== topic.value) continue;
      if (!passes(i)) continue;
      if (wanted && !`${asked.stem[i]} ${asked.choices[i].join(" ")}`.toLowerCase().includes(wanted)) continue;
      found.push(i);
    }
    return found;
  };

  const letter = (c) => "ABCDEFGHIJ"[Number(c)];
  // What was said, with the words of the right answer marked.
  const marked = (said, right) => {
    const wanted = new Set(right.toLowerCase().match(/[\p{L}\p{N}]+/gu) || []);
    const made = make("span", "", "said");
    for (const part of said.split(/([\p{L}\p{N}]+)/u)) {
      made.append(wanted.has(part.toLowerCase()) ? make("mark", part) : part);
    }
    return made;
  };

  // Texts or margins of an arm, of the set that is shown.
  const held = (kind, arm, who, attack) => {
    const of = ((data[kind] || {})[arm] || {})[who] || {};
    return (attack ? of[attack] || {} : of)[set.value];
  };

  const mark = (answers, i, ...where) => {
    if (!answers || answers[i] === ".") return make("span", "not asked", "soft");
    const { choices, answer } = data.sets[set.value];
    const c = answers[i];
    const isRight = c === answer[i];
    const made = make("span");
    const verdict = make("span", isRight ? " ✓ right" : " ✗ wrong", isRight ? "yes" : "no");
    const texts = held("texts", ...where);
    if (texts && texts.length) {
      made.append(marked(texts[i] || "(nothing)", choices[i][Number(answer[i])]), verdict);
      return made;
    }
    const shown = c === "-" ? "tie" : `${letter(c)}. ${choices[i][Number(c)]}`;
    const margins = held("margins", ...where);
    made.append(make("span", shown, isRight ? "yes" : "no"), verdict);
    if (margins && margins.length && c !== "-") made.append(make("span", ` ahead by ${margins[i]}`, "soft"));
    return made;
  };

  const answersTable = (i) => {
    const table = make("table", "", "answers");
    const head = table.createTHead().insertRow();
    for (const title of ["who", "answer", "never-knew control"]) {
      head.append(Object.assign(make("th", title), { scope: "col" }));
    }
    const body = table.createTBody();
    const row = (who, mine, control) => {
      const made = body.insertRow();
      made.append(Object.assign(make("th", who), { scope: "row" }));
      made.insertCell().append(mine);
      made.insertCell().append(control);
    };
    const of = (who) => mark(data.models[who][set.value], i, "models", who);
    const plain = data.plain[model.value];
    row("original", of(data.original), "");
    row(model.value, of(model.value), plain && data.models[plain] ? of(plain) : "–");
    for (const attack of attacksOf()) {
      const control = (data.control[model.value] || {})[attack];
      row(
        `… under ${words(attack)}`,
        mark(said(attack), i, "attacked", model.value, attack),
        control && control[set.value] ? mark(control[set.value], i, "control", model.value, attack) : "–",
      );
    }
    const box = make("div", "", "scroll");
    Object.assign(box, { tabIndex: 0, role: "region", ariaLabel: "Answers to this question" });
    box.append(table);
    return box;
  };

  const item = (i) => {
    const { stem, choices, answer, topic: topics } = data.sets[set.value];
    const under = attacksOf().map(said).filter(Boolean);
    const back = under.filter((u) => u[i] === answer[i]).length;
    const made = make("li");
    const part = make("details");
    const summary = make("summary");
    const short = make("span", "", "soft");
    const tick = (who, answers) => `${who} ${answers[i] === answer[i] ? "✓" : "✗"}`;
    short.textContent = [
      tick("original", data.models[data.original][set.value]),
      tick(model.value, data.models[model.value][set.value]),
      under.length ? `right under ${back} of ${under.length} attacks` : "no attack was asked this",
    ].join(" · ");
    summary.append(make("span", stem[i]), short);
    part.append(summary);
    part.addEventListener("toggle", () => {
      if (!part.open || part.children.length > 1) return;
      const inside = make("div", "", "inside");
      const list = make("ul", "", "choices");
      choices[i].forEach((choice, k) => {
        const isRight = String(k) === answer[i];
        if (data.texts && !isRight) return;
        const shown = data.texts ? `right: ${choice}` : `${letter(k)}. ${choice}${isRight ? " (right)" : ""}`;
        list.append(make("li", shown, isRight ? "yes" : ""));
      });
      inside.append(list, answersTable(i));
      if (topics[i]) inside.append(make("p", `topic: ${topics[i]}`, "soft"));
      part.append(inside);
    });
    made.append(part);
    return made;
  };

  let found = [];
  let shown = 0;
  const more = () => {
    by("list").append(...found.slice(shown, shown + STEP).map(item));
    shown = Math.min(shown + STEP, found.length);
    by("more").hidden = shown === found.length;
    const all = data.sets[set.value].stem.length;
    by("count").textContent = `${found.length} of ${all} questions; ${shown} shown`;
    by("shown").textContent = data.sets[set.value].shown;
    by("as-asked").hidden = !data.sets[set.value].shown;
  };
  const filter = () => {
    found = matches();
    shown = 0;
    by("list").replaceChildren();
    more();
  };

  // What is shown stands in the address, so that a link leads to it.
  const FILTERS = { model, set, show: outcome, topic, text };
  const remember = () => {
    const values = Object.entries(FILTERS).map(([name, field]) => [name, field.value]);
    history.replaceState(null, "", `#questions;${new URLSearchParams(values)}`);
  };
  const chosen = new URLSearchParams(location.hash.startsWith("#questions;") ? location.hash.slice(11) : "");
  const choose = (...names) => {
    for (const name of names) {
      const field = FILTERS[name];
      const value = chosen.get(name);
      if (value !== null && (!field.options || [...field.options].some((o) => o.value === value))) field.value = value;
    }
  };

  options(set, Object.entries(data.sets).map(([key, { title }]) => [key, title]));
  choose("model", "set");
  offer();
  choose("show", "topic", "text");
  for (const select of [model, set]) {
    select.addEventListener("change", () => {
      offer();
      filter();
      remember();
    });
  }
  const changed = () => {
    filter();
    remember();
  };
  for (const select of [outcome, topic]) select.addEventListener("change", changed);
  text.addEventListener("input", changed);
  document.querySelector("#browser form").addEventListener("submit", (e) => e.preventDefault());
  by("more").addEventListener("click", more);
  by("browser").hidden = false;
  if (chosen.get("show") === null) {
    outcome.value = "some"; // What was lost and came back; all, where nothing did.
    if (!matches().length) outcome.value = "all";
  } else by("questions").scrollIntoView();
  filter();
})();
