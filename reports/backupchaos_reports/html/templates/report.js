"use strict";
(function () {
  var doc = document, byId = function (id) { return doc.getElementById(id); };
  var all = function (query, root) { return Array.prototype.slice.call((root || doc).querySelectorAll(query)); };

  // Filter: words must occur, -word must not; tool: scenario: and verdict: look at one column.
  var rows = all("#list tbody tr").map(function (tr) {
    var c = tr.children, run = c[1].textContent.toLowerCase().split(" × ");
    return { tr: tr, tool: run[0], scenario: run.slice(1).join(" × "), verdict: c[0].textContent.toLowerCase(),
      any: tr.textContent.toLowerCase() };
  });
  function filter() {
    var terms = byId("q").value.toLowerCase().split(/\s+/).filter(Boolean), shown = 0;
    rows.forEach(function (row) {
      var ok = terms.every(function (term) {
        var not = term[0] === "-" && term.length > 1, part = /^(tool|scenario|verdict):(.*)$/.exec(not ? term.slice(1) : term);
        var hit = part ? row[part[1]].indexOf(part[2]) >= 0 : row.any.indexOf(not ? term.slice(1) : term) >= 0;
        return hit !== not;
      });
      row.tr.hidden = !ok;
      shown += ok;
    });
    byId("found").textContent = shown + " of " + rows.length;
  }
  byId("search").hidden = false;
  byId("q").addEventListener("input", filter);
  byId("search").addEventListener("submit", function (event) { event.preventDefault(); });

  // Packed runs: gzip in Base64, opened when their address is visited.
  function unpack(number) {
    var text = doc.querySelector('template[data-n="' + number + '"]').content.textContent;
    var raw = Uint8Array.from(atob(text), function (c) { return c.charCodeAt(0); });
    var stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }
  function show(article) {
    all("details.fold", article).forEach(function (fold) { fold.open = true; });
    article.scrollIntoView();
    var head = article.querySelector("h3");
    if (head) { head.tabIndex = -1; head.focus({ preventScroll: true }); }
  }
  function visit() {
    var id = location.hash.slice(1), there = id && byId(id);
    if (!id) { return; }
    if (there) { if (there.matches("article")) { show(there); } return; }
    var link = all("a[data-b]").find(function (a) { return a.getAttribute("href") === "#" + id; });
    var place = byId("opened");
    if (!link) { place.textContent = "This report has no run with that address."; return; }
    unpack(link.dataset.b).then(function (html) {
      var box = doc.createElement("template");
      box.innerHTML = html;
      place.replaceChildren(box.content.getElementById(id));
      equip(place);
      show(byId(id));
    }).catch(function (error) { place.textContent = "This run could not be unpacked: " + error; });
  }
  addEventListener("hashchange", visit);

  // A line under the pointer through all lanes, and the time at it.
  function crosshair(svg) {
    var axis = svg.dataset.axis.split(" ").map(Number), g, line, text;
    function make(tag, attributes) {
      var made = doc.createElementNS(svg.namespaceURI, tag);
      Object.keys(attributes).forEach(function (key) { made.setAttribute(key, attributes[key]); });
      return made;
    }
    svg.addEventListener("pointermove", function (event) {
      var box = svg.getBoundingClientRect(), x = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
      if (!g) {
        g = make("g", { "pointer-events": "none" });
        line = make("path", { "class": "s-ink", stroke: "#1b2430", "stroke-dasharray": "2 2" });
        text = make("text", { "class": "f-ink", fill: "#1b2430", "font-weight": "600", y: axis[4] + 29 });
        g.append(line, text);
        svg.append(g);
      }
      g.setAttribute("display", x < axis[2] || x > axis[3] ? "none" : "inline");
      line.setAttribute("d", "M" + x + " 2V" + (axis[4] + 18));
      text.textContent = (axis[0] + (x - axis[2]) / (axis[3] - axis[2]) * (axis[1] - axis[0])).toFixed(2) + " s";
      text.setAttribute("x", x + 4);
      text.setAttribute("text-anchor", "start");
    });
    svg.addEventListener("pointerleave", function () { if (g) { g.setAttribute("display", "none"); } });
  }
  function equip(root) {
    all("svg[data-axis]", root).forEach(crosshair);
    all("button.copy", root).forEach(function (button) {
      if (!navigator.clipboard) { return; }
      button.hidden = false;
      button.addEventListener("click", function () {
        navigator.clipboard.writeText(button.previousElementSibling.textContent).then(function () {
          button.textContent = "Copied";
          setTimeout(function () { button.textContent = "Copy"; }, 1500);
        });
      });
    });
  }
  equip(doc);
  filter();
  visit();
})();
