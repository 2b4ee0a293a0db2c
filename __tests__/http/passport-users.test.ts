import type { RequestListener } from "node:http";
import request from "supertest";
import type { AbstractStore, StoreOptions } from "../../lib/index.js";
import { backends, dynalite, useBackend } from "../helpers/stores/backends.js";

const { createApp, user } = require("../../examples/passport/app.js") as {
  createApp(store: AbstractStore, secret: string): RequestListener;
  user: StoreOptions["user"];
};

interface Device {
  handle: string;
  browser: string;
  isCurrent: boolean;
}

// dynalite has no transactions, which lists of users require.
describe.each(backends.filter(backend => backend !== dynalite))("users of Passport in $name", backend => {
  const createStore = useBackend(backend);
  let app: RequestListener;
  beforeEach(() => {
    app = createApp(createStore({ user }), "keyboard cat");
  });

  async function signIn(name: string, password: string, browser: string) {
    const agent = request.agent(app);
    const form = { username: name, password };
    await agent.post("/sign-in").set("user-agent", browser).type("form").send(form).expect(200, { name });
    return agent;
  }
  type Agent = Awaited<ReturnType<typeof signIn>>;

  const devicesOf = async (agent: Agent): Promise<Device[]> =>
    (await agent.get("/devices").expect(200)).body as Device[];

  it("see their devices, end one of them, and all others", async () => {
    const phone = await signIn("ann", "tea", "phone");
    const laptop = await signIn("ann", "tea", "laptop");
    const tablet = await signIn("ann", "tea", "tablet");
    const stranger = await signIn("bob", "coffee", "stranger");
    const devices = await devicesOf(phone);
    expect(devices.map(({ browser }) => browser).sort()).toEqual(["laptop", "phone", "tablet"]);
    expect(devices.filter(({ isCurrent }) => isCurrent).map(({ browser }) => browser)).toEqual(["phone"]);
    const { handle } = devices.find(({ browser }) => browser === "laptop") as Device;
    await stranger.post("/devices/end").type("form").send({ handle }).expect(303);
    await laptop.get("/devices").expect(200);
    await phone.post("/devices/end").type("form").send({ handle }).expect(303);
    await laptop.get("/devices").expect(401);
    await phone.post("/devices/end-others").expect(200, { ended: 1 });
    await tablet.get("/devices").expect(401);
    expect(await devicesOf(phone)).toHaveLength(1);
    expect(await devicesOf(stranger)).toHaveLength(1);
  });

  it("are no longer listed after they sign out, and are listed again after they sign in", async () => {
    const phone = await signIn("ann", "tea", "phone");
    const laptop = await signIn("ann", "tea", "laptop");
    await phone.post("/sign-out").expect(200);
    expect((await devicesOf(laptop)).map(({ browser }) => browser)).toEqual(["laptop"]);
    await laptop.post("/sign-in").type("form").send({ username: "ann", password: "tea" }).expect(200);
    expect(await devicesOf(laptop)).toHaveLength(1);
    await request(app).post("/sign-in").type("form").send({ username: "ann", password: "no" }).expect(401);
    await request(app).get("/devices").expect(401);
  });
});
