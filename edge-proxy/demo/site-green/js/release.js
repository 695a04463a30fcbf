// What this release calls itself.
export const release = { word: "two", colour: "green" };
