// Figures are drawn when they come near the window, in the page's colours, and again for paper.
(() => {
  const plots = [...document.querySelectorAll(".plot")];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  // The template's colours on a dark page, each still told apart from the others.
  const ON_DARK = {
    "#1b1b1b": "#e9e9e6", "#555555": "#b4b4b0", "#777777": "#9a9a96", "#e6e6e6": "#3c3c3b",
    "#0072b2": "#56b4e9", "#d55e00": "#ff8c42", "#009e73": "#3ccf9f", "#cc79a7": "#e8a3c6",
  };
  const clear = { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" };
  // The library is run when the first figure needs it, so that the text is there before.
  const library = () => {
    if (!window.Plotly) document.head.append(make(document.getElementById("plotly").textContent));
    return window.Plotly;
  };
  const make = (code) => Object.assign(document.createElement("script"), { textContent: code });
  const PAPER = 660; // Pixels of a page's width: what is as wide as the window would be cut off.
  const draw = (plot, inDark = dark.matches, width = 0) => {
    let text = document.getElementById(`figure-${plot.dataset.figure}`).textContent;
    if (inDark) {
      text = text.replace(/#[0-9a-f]{6}\b/gi, (c) => ON_DARK[c.toLowerCase()] || c);
      text = text.replaceAll('"white"', '"#161616"'); // Where scales begin, and between marks: the page.
    }
    const { data, layout } = JSON.parse(text);
    // Panels beside each other keep a width on which their titles fit; a narrow window scrolls.
    const axes = Object.entries(layout).filter(([key]) => key.startsWith("xaxis"));
    const columns = new Set(axes.map(([, axis]) => (axis.domain || [0])[0])).size;
    const scrolls = !width && innerWidth < 700 && columns > 1;
    plot.style.minWidth = scrolls ? `${200 * columns}px` : "";
    if (scrolls) plot.parentElement.tabIndex = 0; // Scrolled by keyboard, too.
    const size = width ? { width } : {};
    library().react(plot, data, { ...layout, ...clear, ...size }, { responsive: !width, displayModeBar: false });
  };
  const near = new IntersectionObserver(
    (seen) => {
      for (const { isIntersecting, target } of seen) {
        if (isIntersecting) {
          near.unobserve(target);
          draw(target);
        }
      }
    },
    { rootMargin: "300px" },
  );
  plots.forEach((plot) => near.observe(plot));
  const again = (inDark) =>
    plots.filter((plot) => plot.matches(".js-plotly-plot")).forEach((plot) => draw(plot, inDark));
  dark.addEventListener("change", () => again(dark.matches));

  const closed = [];
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details:not([open]):not(.long)")) {
      part.open = true;
      closed.push(part);
    }
    plots.filter((plot) => plot.offsetParent).forEach((plot) => draw(plot, false, PAPER));
  });
  addEventListener("afterprint", () => {
    closed.splice(0).forEach((part) => (part.open = false));
    again(dark.matches);
  });
  // A link to an attack opens it.
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.matches("details")) target.open = true;
  };
  addEventListener("hashchange", reveal);
  reveal();
})();
