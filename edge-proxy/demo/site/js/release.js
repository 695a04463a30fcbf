// What this release calls itself. Release two brings its own.
export const release = { word: "one", colour: "blue" };
