// What the desk's pages share: their texts, and how a list of photos is sent.
"use strict";

const page = document.body.dataset;
const texts = JSON.parse(page.texts);
const byId = (id) => document.getElementById(id);

function say(text, values = {}) {
  const own = texts[text] || text;
  return own.replace(/%\((\w+)\)s/g, (_, name) => values[name]).replaceAll("%%", "%");
}

// Sends files as a list and goes to its page; gives what went wrong otherwise.
function sendList(files, tell) {
  const form = new FormData();
  for (const file of files) form.append("photos", file, file.name);
  tell(say("Sending…"));
  return new Promise((resolve) => {
    const request = new XMLHttpRequest(); // fetch does not tell how far it is
    request.open("POST", "/api/v1/jobs");
    request.setRequestHeader("X-Lotlens-Token", page.token);
    request.setRequestHeader("Accept-Language", page.lang);
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable)
        tell(say("Sending: %(share)s %%", { share: Math.round((100 * event.loaded) / event.total) }));
    });
    request.addEventListener("load", () => {
      const found = request.response;
      if (request.status === 202) location.assign(`/jobs/${found.id}?lang=${page.lang}`);
      else resolve((found && found.error && found.error.message) || say("Not sent: no connection to lotlens."));
    });
    request.addEventListener("error", () => resolve(say("Not sent: no connection to lotlens.")));
    request.send(form);
  });
}
