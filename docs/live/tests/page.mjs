// What the built page does in a browser, for tests/test_live.py: node page.mjs URL CHROMIUM; writes a JSON answer.

import { chromium } from "playwright-core";

const [url, executablePath] = process.argv.slice(2);
const args = [
  "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
  "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
];
const found = { errors: [], elsewhere: [] };
// Playwright starts it headless, with a new folder of user data.
const browser = await chromium.launch({ executablePath, args, chromiumSandbox: false });
try {
  // A small picture: the machine that tests draws without a graphics card. With reduced motion, nothing plays at first.
  const page = await browser.newPage({ viewport: { width: 380, height: 480 }, hasTouch: true, reducedMotion: "reduce" });
  page.on("pageerror", (error) => found.errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && found.errors.push(message.text()));
  page.on("request", (request) => {
    const asked = request.url();
    if (!asked.startsWith(new URL(url).origin) && !asked.startsWith("data:")) found.elsewhere.push(asked);
  });
  const state = () => page.evaluate(() => window.live.state());
  const until = (condition) => page.waitForFunction(condition, null, { timeout: 60_000 });

  await page.goto(url);
  await until(() => window.live?.ready || window.live?.error);
  found.families = await page.evaluate(() => window.live.families());

  // A slider: the visitor chooses from now on, and the block moves.
  await page.evaluate(() => window.live.select("lwall", "Lift"));
  await page.locator("#reset").click();
  found.before = await state();
  await page.locator("#z1").fill("-2.5");
  await page.locator("#pause").click();
  await until(() => window.live.state().steps >= 12);
  found.after = await state();
  await page.locator("#pause").click();

  // The mapping chooses on the task that is new, until a slider is touched.
  await page.locator("#tasks button").first().click();
  await until(() => window.live.state().task === "LWall");
  found.mapping = await state();
  await page.locator("#z2").fill("1");
  found.touched = await state();
  await page.locator("#mapping").click();
  found.again = await state();

  // The map: a touch in its middle is the middle of the box of z.
  await page.locator("#map").tap();
  found.tapped = await state();

  // Of two choices at once, the last one counts, though its larger file comes later or sooner.
  await page.evaluate(() => Promise.all([window.live.select("railpush"), window.live.select("pointmass", "PointMassUp")]));
  found.last = await state();

  for (const family of found.families) {
    await page.evaluate((name) => window.live.select(name), family);
    (found.shown ??= []).push((await state()).task);
    (found.compared ??= {})[family] = await page.evaluate((name) => window.live.compare(name), family);
  }
   found.successes = await page.evaluate(() => window.live.evaluate("lwall", 10));
  found.wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  found.error = await page.evaluate(() => window.live.error);
} finally {
  await browser.close();
}
console.log(JSON.stringify(found));
