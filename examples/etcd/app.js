// The smallest application on etcd. `npm run engine:etcd`, in another terminal, starts a local one:
//
//   npm run build && node examples/etcd/app.js

const { Etcd3 } = require("etcd3");
const express = require("express");
const session = require("express-session");
const { EtcdStore } = require("express-session-stores/etcd");

// Name every member of the cluster, so that one of them can fail.
const hosts = (process.env.ETCD_ENDPOINTS || "http://127.0.0.1:2379").split(",");
const store = new EtcdStore({ client: new Etcd3({ hosts }), prefix: "example-etcd:" });

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
  res.send(`Views: ${req.session.views}. Any number of servers can share them.\n`);
});

const server = app.listen(process.env.PORT || 3000, error => {
  if (error) throw error;
  console.log(`http://localhost:${server.address().port}`);
});
