// The smallest application on the memory store:
//
//   npm run build && node examples/memory/app.js

const express = require("express");
const session = require("express-session");
const { MemoryStore } = require("express-session-stores/memory");

// `max` limits the number of sessions. Beyond it, the store removes the least recently used ones.
const store = new MemoryStore({ max: 100_000 });

const app = express();
app.use(
  session({
    store,
    secret: process.env.SESSION_SECRET || "change me",
    resave: false,
    saveUninitialized: false,
    cookie: { maxAge: 30 * 60 * 1000 },
  }),
);

app.get("/", (req, res) => {
  req.session.views = (req.session.views ?? 0) + 1;
  res.send(`Views: ${req.session.views}. They are gone when the process ends.\n`);
});

const server = app.listen(process.env.PORT || 3000, error => {
  if (error) throw error;
  console.log(`http://localhost:${server.address().port}`);
});
