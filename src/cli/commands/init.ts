// `libra init`: a libra.yaml for a folder that has none, with the reason for every line.

import { readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Failure } from '../../lib/failure.ts';
import type { Command } from '../command.ts';
import { detectFolder, nameOf, writeManifest } from '../deploy-source.ts';
import { confirm } from '../prompt.ts';

export const init: Command = {
  summary: 'Write a libra.yaml for a folder, from what is found in it.',
  example: 'libra init path/to/folder --yes',
  arguments: [{ name: 'folder', help: 'default: this one', required: false }],
  options: [{ name: 'yes', short: 'y', help: 'never ask' }],
  run: async (input, context) => {
    const { output } = context;
    const folder = resolve(context.cwd, input.arguments['folder']?.[0] ?? '.');
    if (
      !(await stat(folder)
        .then((entry) => entry.isDirectory())
        .catch(() => false))
    )
      throw new Failure('not_found', { message: `The folder ${folder} does not exist.` });
    const existing = await readFile(join(folder, 'libra.yaml'), 'utf8').catch(() => null);
    if (existing !== null)
      throw new Failure('exists', {
        message: `${join(folder, 'libra.yaml')} exists already.`,
        hint: "'libra plan' shows what it would do.",
      });
    const detected = await detectFolder(context, folder);
    const text =
      detected?.text ??
      `app: ${nameOf(context, folder)}\nentrypoints:\n  web:\n    command: ./start      # the program that shall run; it listens on $PORT\n`;
    if (detected === null) output.note('Nothing was recognised here; this is a beginning to fill in.');
    for (const finding of detected?.findings ?? []) output.note(`  ${finding.what}  ${output.style('dim', `because ${finding.why}`)}`);
    output.line(text.trimEnd());
    if (input.options['yes'] !== true) {
      if (!output.interactive)
        throw new Failure('invalid_input', { message: 'Nobody can be asked here.', hint: 'Add --yes to write it as shown.' });
      if (!(await confirm(context, 'Write this to libra.yaml?', true))) throw new Failure('canceled', { message: 'Nothing was written.' });
    }
    const path = await writeManifest(folder, text);
    output.note(`Wrote ${path}. Next: libra deploy`);
    output.value({ path, manifest: text, findings: detected?.findings ?? [] });
    return 0;
  },
};
