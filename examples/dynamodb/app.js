// The smallest application on DynamoDB. `npm run engine:dynamodb`, in another terminal, starts a local one:
//
//   npm run build && node examples/dynamodb/app.js

const { DynamoDBClient } = require("@aws-sdk/client-dynamodb");
const express = require("express");
const session = require("express-session");
const { DynamoDBStore } = require("express-session-stores/dynamodb");

// On AWS: `new DynamoDBClient()`. A local engine accepts any region and credentials, but requires both.
const client = new DynamoDBClient({
  endpoint: process.env.DYNAMODB_ENDPOINT || "http://127.0.0.1:8000",
  region: "us-east-1",
  credentials: { accessKeyId: "local", secretAccessKey: "local" },
});
const store = new DynamoDBStore({ client, tableName: "sessions", prefix: "example-dynamodb:" });

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

// On AWS this belongs in a setup script, because the application itself should not need the permission.
store.createTable().then(() => {
  const server = app.listen(process.env.PORT || 3000, error => {
    if (error) throw error;
    console.log(`http://localhost:${server.address().port}`);
  });
});
