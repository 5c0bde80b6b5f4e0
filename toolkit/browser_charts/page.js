// Mounts the charts of a page in place of their pictures. A range of time that is selected in one of them narrows all.
// A list below that chart shows what differs in the range, and the options for a report of that time.

(() => {
  const MIN_STANDARD_ERRORS = 4; // calls of one time are alike, so 2 would list chance differences
  const mounted = [];

  const share = (ratio) => `${+(ratio * 100).toPrecision(3)} %`;

  // The shares of outcomes among the calls inside and outside of a range that differ by more than MIN_STANDARD_ERRORS, the
  // largest difference first. Null if no endpoint has calls both inside and outside.
  function differences([from, to]) {
    let shares = null;
    for (const panel of mounted.flatMap(({ spec }) => spec.panels).filter(({ kind }) => kind === "bars")) {
      const counts = panel.series.map(({ name, values }) => {
        const count = { name, inside: 0, outside: 0 };
        values.forEach((value, at) => {
          const [start, end] = [panel.edges[at], panel.edges[at + 1]], common = Math.max(0, Math.min(end, to) - Math.max(start, from));
          count.inside += (value * common) / panel.unit_s;
          count.outside += (value * (end - start - common)) / panel.unit_s;
        });
        return count;
      });
      const [inside, outside] = ["inside", "outside"].map((side) => counts.reduce((sum, count) => sum + count[side], 0));
      if (!inside || !outside) continue;
      shares ??= [];
      for (const count of counts) {
        const [here, elsewhere] = [count.inside / inside, count.outside / outside], all = (count.inside + count.outside) / (inside + outside);
        const error = Math.sqrt(all * (1 - all) * (1 / inside + 1 / outside));
        if (Math.abs(here - elsewhere) > MIN_STANDARD_ERRORS * error) shares.push({ panel: panel.title.split(":")[0], name: count.name, here, elsewhere });
      }
    }
    return shares?.sort((one, other) => Math.abs(other.here - other.elsewhere) - Math.abs(one.here - one.elsewhere));
  }

  function showDifferences(note, range) {
    note.hidden = !range.length;
    note.replaceChildren();
    if (note.hidden) return;
    const times = range.map((at) => new Date(at * 1000).toISOString());
    make(note, "h4", "", "What is different in here?");
    const shares = differences(range), list = make(note, "ul");
    for (const { panel, name, here, elsewhere } of shares?.slice(0, 5) ?? []) make(list, "li", "", `${panel} ${name}: ${share(here)} of the calls, ${share(elsewhere)} at other times`);
    if (!shares) make(list, "li", "", "Select a period that has calls, and that leaves calls outside of it.");
    else if (!shares.length) make(list, "li", "", "No return code's share differs from that at other times by more than chance.");
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

  // Show a range of time in all charts of time, and the differences below the one in which it was selected.
  function narrow(chosen, range) {
    for (const { spec, chart, note } of mounted.filter(({ spec }) => spec.x.kind === "time")) {
      chart.update({ ...spec, x: { ...spec.x, range: range.length ? range : spec.x.range } });
      chart.select([]);
      showDifferences(note, note === chosen ? range : []);
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
