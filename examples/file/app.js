// The smallest application on the file store, whose sessions survive a restart:
//
//   npm run build && node examples/file/app.js

const express = require("express");
const session = require("express-session");
const { FileStore } = require("express-session-stores/file");

// The first session creates the folder. Several processes may share the file.
const store = new FileStore({ path: ".data/example-file/sessions.lmdb" });

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
  res.send(`Views: ${req.session.views}. Restart me: I remember.\n`);
});

const server = app.listen(process.env.PORT || 3000, error => {
  if (error) throw error;
  console.log(`http://localhost:${server.address().port}`);
});
