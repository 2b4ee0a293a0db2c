// Sends the requests of the page "Try to lose something", and shows what each store kept.

/** After this time, the slow request has loaded its session and is still at work. */
const SIGN_OUT_AFTER_MS = 300;

const runButton = document.getElementById("run");
const progress = document.getElementById("progress");
const rows = [...document.querySelectorAll("tr[data-path]")];

say("");
runButton.hidden = false;
runButton.addEventListener("click", run);

async function run() {
  // A `disabled` button would lose the focus.
  if (runButton.getAttribute("aria-disabled") === "true") return;
  runButton.setAttribute("aria-disabled", "true");
  for (const row of rows) clear(row);
  try {
    for (const row of rows) {
      const name = row.querySelector("th").textContent;
      say(`${name}: changes in parallel …`);
      const { trial } = await send("POST", `${row.dataset.path}/begin`);
      await tryChanges(row, trial);
      say(`${name}: a sign-out during a slow request …`);
      await trySignOut(row, trial);
    }
    say("Done.");
  } catch (error) {
    say(`The trial has stopped: ${error.message}`);
  } finally {
    runButton.removeAttribute("aria-disabled");
  }
}

async function tryChanges(row, trial) {
  const { path } = row.dataset;
  const marks = [...row.querySelectorAll(".marks i")];
  await Promise.all(marks.map((_mark, number) => send("POST", `${path}/change`, { number })));
  const { kept, trial: found } = await send("GET", `${path}/state`);
  assertSameTrial(trial, found);
  for (const number of kept) marks[number].className = "kept";
  show(row, "changes", `${kept.length} of ${marks.length}`, kept.length === marks.length);
}

async function trySignOut(row, trial) {
  const { path } = row.dataset;
  const signOut = async () => {
    await new Promise(resolve => setTimeout(resolve, SIGN_OUT_AFTER_MS));
    return await send("POST", `${path}/end`);
  };
  const [slow, end] = await Promise.all([send("POST", `${path}/slow`), signOut()]);
  const { trial: found } = await send("GET", `${path}/state`);
  const isSignedIn = found !== undefined;
  if (isSignedIn) assertSameTrial(trial, found);
  if (slow.loadedAt > end.beganAt || end.endedAt > slow.savedAt) {
    // The server or the store was too slow, so there is no result.
    show(row, "sign-out", "No result: the sign-out was not in time");
    return;
  }
  show(row, "sign-out", isSignedIn ? "Came back" : "Stayed signed out", !isSignedIn);
  if (isSignedIn) await send("POST", `${path}/end`);
}

/** Lets only one trial run at a time. Tabs share the cookies of the trial, so two trials would give wrong results. */
function assertSameTrial(begun, found) {
  if (begun !== found) throw new Error("another tab has begun one.");
}

async function send(method, path, fields) {
  const body = fields && new URLSearchParams(fields);
  const response = await fetch(path, { method, body }).catch(() => {
    throw new Error("the server cannot be reached.");
  });
  if (!response.ok) throw new Error(`the server responded with status ${response.status}.`);
  return await response.json();
}

function clear(row) {
  for (const mark of row.querySelectorAll(".marks i")) mark.className = "";
  for (const name of ["changes", "sign-out"]) show(row, name, "–");
}

/** Shows a result. `isGood` is undefined if there is no result. */
function show(row, name, text, isGood) {
  const result = row.querySelector(`[data-result="${name}"] .result`);
  result.textContent = text;
  result.className = `result ${isGood === undefined ? "" : isGood ? "good" : "bad"}`;
}

function say(text) {
  progress.textContent = text;
}
