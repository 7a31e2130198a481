// What the programs of this folder have in common: checks that are counted. See checks.py for what the environment says.
'use strict';

const assert = require('assert/strict');

const all = [];

// check registers a check: the text says what has to hold. It is left out where one of needs is missing.
const check = (requirement, f, ...needs) => all.push({ requirement, f, needs });
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// eventually waits until f returns something true, and returns that.
async function eventually(f, ms = 10000) {
  for (const end = Date.now() + ms; ; await sleep(20)) {
    const got = await f();
    if (got) return got;
    assert(Date.now() < end, `not within ${ms} ms: ${f}`);
  }
}

// run runs all checks in order, prints a line for each that fails, and the score, and ends the process.
async function run(client) {
  let passed = 0, failed = 0;
  for (const { requirement, f, needs } of all) {
    if (!needs.every(Boolean)) { console.log(`left out  ${client}: ${requirement}`); continue; }
    let timer;
    const late = new Promise((_, fail) => { timer = setTimeout(() => fail(new Error('takes too long')), 30000); });
    try {
      await Promise.race([f(), late]);
      passed++;
      if (process.env.VERBOSE) console.log(`ok    ${client}: ${requirement}`);
    } catch (e) {
      failed++;
      console.log(`FAIL  ${client}: ${requirement}\n${e.stack}`);
    } finally {
      clearTimeout(timer);
    }
  }
  console.log(`${client}: ${passed} of ${passed + failed} checks passed`);
  process.exit(failed ? 1 : 0);
}

module.exports = { check, sleep, eventually, run };
