// Turns a row of pictures into one place with a slider; without script they stay a row.
for (const box of document.querySelectorAll(".epochs")) {
  const pictures = [...box.querySelectorAll("img")];
  const range = box.querySelector("input");
  const show = () => {
    pictures.forEach((picture, i) => { picture.hidden = i !== range.valueAsNumber; });
    box.querySelector("output").value = range.ariaValueText = pictures[range.valueAsNumber].alt;
  };
  box.classList.add("live");
  range.addEventListener("input", show);
  show();
}
