// Before anything is painted: light or dark as chosen on this machine, else as the system says.
"use strict";
document.documentElement.dataset.theme =
  localStorage.getItem("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
