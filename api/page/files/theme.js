// Sets light or dark before anything is drawn, so that nothing flashes. Not a module: modules run later.
document.documentElement.dataset.theme = localStorage.getItem("bpm.theme")
  ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
