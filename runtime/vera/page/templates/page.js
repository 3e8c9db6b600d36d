"use strict";
// Filters only; all else of the page works without a script.
(() => {
  const form = document.getElementById("filters");
  const photos = [...document.querySelectorAll(".photo")];
  const shows = (photo, wanted) => {
    const told = photo.dataset;
    return (!wanted.get("verdict") || told.verdict === wanted.get("verdict"))
      && (!wanted.get("reason") || told.reason === wanted.get("reason"))
      && (!wanted.get("mode") || told.mode === wanted.get("mode"))
      && (!wanted.get("keep") || told.keep.split(" ").includes(wanted.get("keep")))
      && (!wanted.get("warned") || told.warned !== "")
      && told.name.toLowerCase().includes(wanted.get("name").trim().toLowerCase());
  };
  const apply = () => {
    const wanted = new FormData(form);
    let shown = 0;
    for (const photo of photos) {
      photo.hidden = !shows(photo, wanted);
      shown += photo.hidden ? 0 : 1;
    }
    for (const one of document.querySelectorAll(".case")) {
      one.hidden = !one.querySelector(".photo:not([hidden])");
    }
    form.querySelector("output").textContent = `${shown} of ${photos.length} shown`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
})();
