// Writes every golden file and every page of the reference anew from what the program says now. Look at the diff before you commit it.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { goldenFolder, goldens } from '../test/golden/goldens.ts';
import { referenceFolder, references } from './reference.ts';

for (const [folder, texts] of [
  [goldenFolder, goldens],
  [referenceFolder, references],
] as const) {
  for (const [name, make] of Object.entries(texts)) {
    writeFileSync(join(folder, name), await make());
    console.log(join(folder, name));
  }
}
