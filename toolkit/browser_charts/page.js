// Mounts the charts of a page in place of their pictures. A range of time that is selected in one of them narrows all:
// what differs in it is listed below the chart, with the options that make a report of that time.

(() => {
  const CHANCE = 4; // standard errors: calls of one time are alike, so 2 would name chance
  const mounted = [];

  const share = (ratio) => `${+(ratio * 100).toPrecision(3)} %`;

  // The share of each outcome among the calls inside and outside of a range: those that differ by more than CHANCE standard
  // errors, the largest difference first. Null if no endpoint has calls both inside and outside.
  function differences([from, to]) {
    let found = null;
    for (const panel of mounted.flatMap(({ spec }) => spec.panels).filter((it) => it.kind === "bars")) {
      const counts = panel.series.map((one) => {
        const count = { name: one.name, inside: 0, outside: 0 };
        one.values.forEach((value, at) => {
          const [start, end] = [panel.edges[at], panel.edges[at + 1]], common = Math.max(0, Math.min(end, to) - Math.max(start, from));
          count.inside += (value * common) / panel.unit_s;
          count.outside += (value * (end - start - common)) / panel.unit_s;
        });
        return count;
      });
      const [inside, outside] = ["inside", "outside"].map((side) => counts.reduce((all, it) => all + it[side], 0));
      if (!inside || !outside) continue;
      found ??= [];
      for (const count of counts) {
        const [here, elsewhere] = [count.inside / inside, count.outside / outside], all = (count.inside + count.outside) / (inside + outside);
        const error = Math.sqrt(all * (1 - all) * (1 / inside + 1 / outside));
        if (Math.abs(here - elsewhere) > CHANCE * error) found.push({ panel: panel.title.split(":")[0], name: count.name, here, elsewhere });
      }
    }
    return found?.sort((one, other) => Math.abs(other.here - other.elsewhere) - Math.abs(one.here - one.elsewhere));
  }

  function tell(note, range) {
    note.hidden = !range.length;
    note.replaceChildren();
    if (note.hidden) return;
    const times = range.map((at) => new Date(at * 1000).toISOString());
    make(note, "h4", "", "What is different in here?");
    const found = differences(range), list = make(note, "ul");
    for (const it of found?.slice(0, 5) ?? []) make(list, "li", "", `${it.panel} ${it.name}: ${share(it.here)} of the calls, ${share(it.elsewhere)} at other times`);
    if (!found) make(list, "li", "", "Select a period that has calls, and that leaves calls outside of it.");
    else if (!found.length) make(list, "li", "", "No return code's share differs from that at other times by more than chance.");
    make(note, "p", "note", "Causes, such as a template or an app, are in the report of this time, under “Where changes are concentrated”:");
    const options = make(make(note, "p"), "code", "", `smscode report … --since ${times[0]} --until ${times[1]}`);
    const buttons = make(note, "p"), copy = make(buttons, "button", "", "Copy");
    copy.type = "button";
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(options.textContent);
        copy.textContent = "Copied";
      } catch { // a page that was not loaded over HTTPS has no clipboard, and a browser may refuse it
        getSelection().selectAllChildren(options);
        copy.textContent = "Selected: copy it with Ctrl+C";
      }
    });
    const clear = make(buttons, "button", "", "Show all of the time");
    clear.type = "button";
    clear.addEventListener("click", () => narrow(null, []));
  }

  // Show a range of time in all charts of time; the one in which it was selected tells what differs.
  function narrow(chosen, range) {
    for (const { spec, chart, note } of mounted.filter((it) => it.spec.x.kind === "time")) {
      chart.update({ ...spec, x: { ...spec.x, range: range.length ? range : spec.x.range } });
      chart.select([]);
      tell(note, note === chosen ? range : []);
    }
  }

  for (const box of document.querySelectorAll(".sms-chart")) {
    const spec = JSON.parse(box.querySelector("script").textContent);
    const note = document.createElement("div");
    note.className = "different";
    note.hidden = true;
    note.setAttribute("role", "status");
    box.closest("figure").classList.add("explored");
    box.after(note);
    const chart = mountChart(box, (range) => narrow(note, range));
    mounted.push({ spec, chart, note });
    chart.update(spec);
  }
})();
