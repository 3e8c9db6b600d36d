"use strict";
// One picture at a time; answers stay in this browser until they are saved as a file.
(() => {
  const items = [...document.querySelectorAll("section")];
  const place = "vera-sheet-" + items[0].dataset.item;
  const answers = {};
  try {
    Object.assign(answers, JSON.parse(localStorage.getItem(place) || "{}"));
  } catch { /* a browser that keeps nothing */ }
  let at = Math.max(0, items.findIndex((item) => !(answers[item.dataset.item] || {}).answer));

  const keep = () => {
    try {
      localStorage.setItem(place, JSON.stringify(answers));
    } catch { /* as above */ }
  };
  const told = (item) => answers[item.dataset.item] || { answer: "", comment: "" };
  const show = () => {
    items.forEach((item, index) => item.classList.toggle("shown", index === at));
    const done = items.filter((item) => told(item).answer).length;
    document.querySelector(".progress").textContent =
      `Picture ${at + 1} of ${items.length}; ${done} answered.`;
    document.getElementById("back").disabled = at === 0;
    document.getElementById("next").disabled = at === items.length - 1;
  };
  const quoted = (text) => `"${text.replaceAll('"', '""').replaceAll(/\s+/g, " ")}"`;

  for (const item of items) {
    const radios = [...item.querySelectorAll("input[type=radio]")];
    const comment = item.querySelector("input[type=text]");
    for (const radio of radios) radio.checked = radio.value === told(item).answer;
    comment.value = told(item).comment;
    item.addEventListener("input", () => {
      const chosen = radios.find((radio) => radio.checked);
      answers[item.dataset.item] = { answer: chosen ? chosen.value : "", comment: comment.value };
      keep();
      show();
    });
  }
  document.getElementById("back").addEventListener("click", () => { at -= 1; show(); });
  document.getElementById("next").addEventListener("click", () => { at += 1; show(); });
  document.getElementById("save").addEventListener("click", () => {
    const rows = items.map((item) => [item.dataset.item, told(item).answer, told(item).comment]);
    const text = [["item", "answer", "comment"], ...rows]
      .map((row) => row.map(quoted).join(",")).join("\n");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text + "\n"], { type: "text/csv" }));
    link.download = "answers.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  document.body.classList.add("scripted");
  document.querySelector("nav").hidden = false;
  show();
})();
