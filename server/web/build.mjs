// Bundles the page into dist/ (or, with --tests, the unit tests into build/tests/).
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { build } from "esbuild";

const root = import.meta.dirname;

async function buildTests() {
  const outdir = join(root, "build/tests");
  await rm(outdir, { recursive: true, force: true });
  const names = (await readdir(join(root, "tests"))).filter((name) => name.endsWith(".test.ts"));
  await build({
    entryPoints: names.map((name) => join(root, "tests", name)),
    outdir,
    bundle: true,
    platform: "node",
    format: "esm",
    sourcemap: "inline",
    logLevel: "warning",
  });
}

async function buildPage() {
  const dist = join(root, "dist");
  await rm(dist, { recursive: true, force: true });
  const { metafile } = await build({
    entryPoints: { main: join(root, "src/main.tsx"), style: join(root, "src/style.css") },
    outdir: join(dist, "assets"),
    entryNames: "[name]-[hash]",
    bundle: true,
    minify: true,
    sourcemap: true,
    target: ["es2022"],
    format: "iife",
    jsx: "automatic",
    jsxImportSource: "preact",
    define: { "process.env.NODE_ENV": '"production"' },
    metafile: true,
    logLevel: "warning",
  });
  const outputs = Object.keys(metafile.outputs).map((path) => basename(path));
  const asset = (pattern) => `assets/${outputs.find((name) => pattern.test(name))}`;
  const html = (await readFile(join(root, "static/index.html"), "utf8"))
    .replace("assets/main.js", asset(/^main-.*\.js$/))
    .replace("assets/style.css", asset(/^style-.*\.css$/));
  await writeFile(join(dist, "index.html"), html);
  await copyFile(join(root, "static/favicon.svg"), join(dist, "favicon.svg"));
  await copyClientBundle(join(dist, "socket.io"));
}

// The official client goes where Socket.IO serves it, byte for byte.
async function copyClientBundle(target) {
  const source = join(root, "node_modules/socket.io-client");
  await mkdir(target, { recursive: true });
  for (const name of await readdir(join(source, "dist"))) {
    if (/^socket\.io.*\.js(\.map)?$/.test(name)) {
      await copyFile(join(source, "dist", name), join(target, name));
    }
  }
  const { version } = JSON.parse(await readFile(join(source, "package.json"), "utf8"));
  await writeFile(join(target, "version"), `${version}\n`);
}

await (process.argv.includes("--tests") ? buildTests() : buildPage());
