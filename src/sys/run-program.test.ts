import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runProgram } from './run-program.ts';

const run = (code: string, timeoutMs = 10_000): Promise<void> => runProgram([process.execPath, '-e', code], { env: { A: '1' }, timeoutMs });

test('a program ends well, or its status and last words are told', async () => {
  await run('process.exit(process.env.A === "1" && process.env.HOME === undefined ? 0 : 1)');
  await assert.rejects(run('console.error("no such zone"); process.exit(3)'), /ended with 3: no such zone/u);
  await assert.rejects(run('console.log("only this"); process.exit(1)'), /ended with 1: only this/u);
  await assert.rejects(run('setInterval(() => undefined, 1000)', 200), /not done within 0.2 s/u);
  await assert.rejects(runProgram(['/nowhere/hook', 'set'], { env: {}, timeoutMs: 1_000 }), /cannot be started \(ENOENT\)/u);
});
