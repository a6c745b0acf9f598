// Replaces a row of grids by one grid and a slider. Without JavaScript, the row stays.
for (const box of document.querySelectorAll(".epochs")) {
  const images = [...box.querySelectorAll("img")];
  const range = box.querySelector("input");
  const show = () => {
    images.forEach((image, i) => { image.hidden = i !== range.valueAsNumber; });
    box.querySelector("output").value = range.ariaValueText = images[range.valueAsNumber].alt;
  };
  box.classList.add("live");
  range.addEventListener("input", show);
  show();
}

// The choice of an x axis replaces all figures over training. Without JavaScript, they are over epochs.
for (const choice of document.querySelectorAll(".curves fieldset")) {
  const figures = document.querySelectorAll(".curves [data-over]");
  const show = () => {
    const { value } = choice.querySelector("input:checked");
    for (const figure of figures) figure.hidden = figure.dataset.over !== value;
  };
  choice.hidden = false;
  choice.addEventListener("change", show);
  show();
}

// Clicking a column's heading sorts its table by data-sort, or by the text: numbers first, empty cells last.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const up = heading.ariaSort !== "ascending";
      headings.forEach((other) => { other.ariaSort = other === heading ? (up ? "ascending" : "descending") : null; });
      const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].innerText.trim().replaceAll(",", "");
      const isNumber = (text) => Number.isFinite(parseFloat(text));
      body.append(...[...body.rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (!x || !y) return !x - !y;
        const order = isNumber(x) && isNumber(y) ? parseFloat(x) - parseFloat(y) : isNumber(y) - isNumber(x) || x.localeCompare(y);
        return up ? order : -order;
      }));
    });
  });
}

// One slider for the grids of all runs, and an enlarged view of one cell of each.
for (const box of document.querySelectorAll(".samples")) {
  const range = box.querySelector("input");
  const stops = range.dataset.stops.split(",");
  const sheets = [...box.querySelectorAll(".sheet")];
  const zoomed = box.querySelector(".zoomed");
  const canvases = [...zoomed.querySelectorAll("canvas")];
  const chosen = { key: null, row: 0, column: 0 };
  const epoch = (label) => (label === "end" ? Infinity : parseFloat(label.split(" ")[1]));
  const current = (sheet) => sheet.querySelector("img:not([hidden])");

  const enlarge = () => {
    zoomed.hidden = chosen.key === null;
    sheets.forEach((sheet, i) => {
      const alike = sheet.dataset.key === chosen.key;
      const size = Number(sheet.dataset.size);
      canvases[i].parentElement.hidden = !alike;
      sheet.classList.toggle("chosen", alike);
      if (!alike) return;
      sheet.style.setProperty("--row", chosen.row);
      sheet.style.setProperty("--column", chosen.column);
      const context = canvases[i].getContext("2d");
      context.imageSmoothingEnabled = false;
      context.drawImage(current(sheet), chosen.column * size, chosen.row * size, size, size, 0, 0, canvases[i].width, canvases[i].height);
    });
  };
  const show = () => {
    const stop = stops[range.valueAsNumber];
    box.querySelector("output").value = range.ariaValueText = stop;
    for (const sheet of sheets) {
      const images = [...sheet.querySelectorAll("img")];
      const last = images.findLast((image) => epoch(image.alt) <= epoch(stop)) ?? images[0];
      images.forEach((image) => { image.hidden = image !== last; });
      sheet.parentElement.querySelector(".when").textContent = last.alt === stop ? "" : `(${last.alt})`;
    }
    enlarge();
  };
  const choose = (sheet, row, column) => {
    const clamp = (value, count) => Math.min(Math.max(value, 0), count - 1);
    chosen.key = sheet.dataset.key;
    chosen.row = clamp(row, Number(sheet.dataset.rows));
    chosen.column = clamp(column, Number(sheet.dataset.columns));
    enlarge();
  };
  const arrows = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  for (const sheet of sheets) {
    sheet.style.setProperty("--rows", sheet.dataset.rows);
    sheet.style.setProperty("--columns", sheet.dataset.columns);
    const chooseCell = (event) => {
      const area = sheet.getBoundingClientRect();
      const cell = (offset, length, count) => Math.floor((offset / length) * count);
      choose(sheet, cell(event.clientY - area.top, area.height, sheet.dataset.rows), cell(event.clientX - area.left, area.width, sheet.dataset.columns));
    };
    sheet.addEventListener("pointermove", chooseCell);
    sheet.addEventListener("click", chooseCell);
    sheet.addEventListener("keydown", (event) => {
      if (!(event.key in arrows)) return;
      event.preventDefault();
      choose(sheet, chosen.row + arrows[event.key][0], chosen.column + arrows[event.key][1]);
    });
  }
  range.addEventListener("input", show);
  if (sheets.length) choose(sheets[0], 0, 0);
  show();
}
