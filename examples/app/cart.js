// Every product has its own key in the session (`cart:tea`), instead of one object for all products. The stores merge
// the changes of parallel requests key by key, so that two tabs that add different products both keep theirs.

const MAX_QUANTITY = 99;

const products = new Map(
  [
    { id: "tea", name: "Tea, Earl Grey", cents: 450 },
    { id: "biscuits", name: "Biscuits & shortbread", cents: 280 },
    { id: "marmalade", name: "Grandma's marmalade", cents: 390 },
    { id: "mug", name: "Mug, 0.4 l", cents: 1200 },
  ].map(product => [product.id, product]),
);

const keyOf = id => `cart:${id}`;

/** The products in the cart of a session, with their `quantity`. */
function itemsOf(session) {
  return [...products.values()]
    .map(product => ({ ...product, quantity: session[keyOf(product.id)] ?? 0 }))
    .filter(item => item.quantity > 0);
}

/** The number of items in the cart of a session. */
function countOf(session) {
  return itemsOf(session).reduce((count, item) => count + item.quantity, 0);
}

/** Sets the quantity of a product in the cart of a session. */
function setQuantity(session, id, quantity) {
  if (quantity > 0) session[keyOf(id)] = Math.min(quantity, MAX_QUANTITY);
  else delete session[keyOf(id)];
}

/** Adds one item of a product to the cart of a session. */
function addOne(session, id) {
  setQuantity(session, id, (session[keyOf(id)] ?? 0) + 1);
}

module.exports = { MAX_QUANTITY, addOne, countOf, itemsOf, products, setQuantity };
