// A clip plays while its button is pressed; "Play all" presses those of its card.
function setPlaying(button, on) {
  const video = button.querySelector("video");
  button.setAttribute("aria-pressed", on);
  if (on) video.play().catch(() => button.setAttribute("aria-pressed", "false"));
  else video.pause();
}
for (const button of document.querySelectorAll(".play")) {
  button.addEventListener("click", () => setPlaying(button, button.getAttribute("aria-pressed") !== "true"));
}
for (const all of document.querySelectorAll(".play-all")) {
  all.addEventListener("click", () => {
    const on = all.getAttribute("aria-pressed") !== "true";
    all.setAttribute("aria-pressed", on);
    all.textContent = on ? "Pause all" : "Play all";
    all.closest(".card").querySelectorAll(".play").forEach((button) => setPlaying(button, on));
  });
}
// Clips hold the video and, right of it, the map: one of them or both are shown.
for (const button of document.querySelectorAll("button[data-view]")) {
  button.addEventListener("click", () => {
    button.closest(".card").dataset.view = button.dataset.view;
    button.parentElement.querySelectorAll("button").forEach((other) => other.setAttribute("aria-pressed", other === button));
  });
}
