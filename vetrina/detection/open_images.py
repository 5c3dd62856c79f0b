"""The 601 names of the Open Images boxable vocabulary and which contains which: facts, no code.

After Google's `class-descriptions-boxable` and `bbox_labels_600_hierarchy` of Open Images V4 (annotations by
Google, CC BY 4.0): its *Subcategory* relations. Its *Part* relations are left out on purpose: a wheel is no
bicycle, and the official file counts a computer mouse among the parts of a building. A name may stand under
several parents (a teddy bear is a toy, and to Open Images a bear).
"""

# Parent → its direct children, comma-separated; under "" stand the names without a parent.
CHILDREN: dict[str, str] = {
    "": (
        "Animal, Auto part, Bathroom accessory, Beehive, Bicycle wheel, Billboard, Book, Building, "
        "Candle, Cassette deck, Cat furniture, Clock, Clothing, Coconut, Coin, Computer keyboard, "
        "Computer monitor, Computer mouse, Cosmetics, Countertop, Curtain, Dog bed, Door, Door handle, "
        "Drink, Fire hydrant, Fireplace, Flag, Food, Fountain, Furniture, Headphones, Home appliance, "
        "Human arm, Human beard, Human body, Human ear, Human eye, Human face, Human foot, Human hair, "
        "Human hand, Human head, Human leg, Human mouth, Human nose, Ipod, Jacuzzi, Kitchenware, Lamp, "
        "Lantern, Laptop, Light bulb, Light switch, Medical equipment, Microphone, Mirror, Musical "
        "instrument, Office supplies, Paper towel, Parking meter, Person, Personal care, Picture frame, "
        "Pillow, Plant, Plumbing fixture, Porch, Power plugs and sockets, Printer, Remote control, "
        "Sculpture, Skull, Sports equipment, Stairs, Street light, Swimming pool, Tablet computer, "
        "Telephone, Television, Tent, Tool, Toy, Traffic light, Traffic sign, Vase, Vehicle, Weapon, "
        "Window, Window blind"
    ),
    "Aircraft": "Airplane, Helicopter, Rocket",
    "Animal": "Bird, Fish, Invertebrate, Mammal, Reptile, Shellfish",
    "Auto part": "Seat belt, Tire, Vehicle registration plate, Wheel",
    "Baked goods": "Bagel, Bread, Cookie, Muffin, Pastry, Pretzel",
    "Ball": "Cricket ball, Football, Rugby ball, Tennis ball, Volleyball",
    "Bathroom accessory": "Facial tissue holder, Soap dispenser, Toilet paper, Towel",
    "Bear": "Brown bear, Panda, Polar bear, Teddy bear",
    "Bed": "Infant bed, Studio couch",
    "Beetle": "Ladybug",
    "Bird": (
        "Blue jay, Canary, Chicken, Duck, Eagle, Falcon, Goose, Magpie, Ostrich, Owl, Parrot, Penguin, "
        "Raven, Sparrow, Swan, Turkey, Woodpecker"
    ),
    "Boat": "Barge, Canoe, Gondola",
    "Building": ("Castle, Convenience store, House, Lighthouse, Office building, Skyscraper, Tower, Tree house"),
    "Car": "Limousine, Van",
    "Carnivore": ("Bear, Cat, Cheetah, Dog, Fox, Jaguar, Leopard, Lion, Lynx, Otter, Raccoon, Red panda, Tiger"),
    "Clock": "Alarm clock, Digital clock, Wall clock",
    "Clothing": (
        "Brassiere, Coat, Dress, Fashion accessory, Footwear, Hat, Helmet, Jacket, Luggage and bags, "
        "Scarf, Shirt, Shorts, Skirt, Sports uniform, Suit, Swim cap, Swimwear, Tiara, Trousers"
    ),
    "Container": "Barrel, Beaker, Bottle, Flowerpot, Jug, Picnic basket, Tin can, Waste container",
    "Cosmetics": "Face powder, Hair spray, Lipstick, Perfume",
    "Couch": "Loveseat, Sofa bed",
    "Dairy": "Cheese, Milk",
    "Dessert": "Cake, Candy, Cookie, Ice cream, Muffin",
    "Drink": "Beer, Cocktail, Coffee, Juice, Tea, Wine",
    "Fashion accessory": (
        "Belt, Crown, Earrings, Glasses, Glove, Goggles, Handbag, Hat, Necklace, Scarf, Sock, Sunglasses, "
        "Tiara, Tie, Umbrella, Watch"
    ),
    "Fast food": "French fries, Hot dog",
    "Fish": "Goldfish, Rays and skates, Seahorse, Shark",
    "Flower": "Lavender, Lily, Rose, Sunflower",
    "Food": (
        "Baked goods, Burrito, Cooking spray, Dairy, Dessert, Egg, Fast food, Fruit, Guacamole, "
        "Honeycomb, Mushroom, Pancake, Pasta, Pizza, Sandwich, Seafood, Snack, Sushi, Taco, Vegetable, "
        "Waffle"
    ),
    "Footwear": "Boot, High heels, Roller skates, Sandal",
    "Fruit": (
        "Apple, Banana, Cantaloupe, Common fig, Grape, Grapefruit, Lemon, Mango, Orange, Peach, Pear, "
        "Pineapple, Pomegranate, Strawberry, Tomato, Watermelon"
    ),
    "Furniture": (
        "Bathroom cabinet, Bed, Bench, Bookcase, Cabinetry, Chair, Chest of drawers, Closet, Couch, "
        "Cupboard, Desk, Drawer, Filing cabinet, Nightstand, Shelf, Stool, Table, Wall clock, Wardrobe, "
        "Wine rack"
    ),
    "Glove": "Baseball glove",
    "Hat": "Cowboy hat, Fedora, Sombrero, Sun hat",
    "Helmet": "Bicycle helmet, Football helmet",
    "Home appliance": (
        "Blender, Ceiling fan, Coffeemaker, Dishwasher, Gas stove, Hair dryer, Hand dryer, Heater, "
        "Humidifier, Kettle, Mechanical fan, Microwave oven, Mixer, Oven, Refrigerator, Sewing machine, "
        "Toaster, Washing machine, Wood-burning stove"
    ),
    "Insect": "Ant, Bee, Beetle, Dragonfly, Moths and butterflies",
    "Invertebrate": "Centipede, Insect, Marine invertebrates, Oyster, Scorpion, Snail, Spider, Tick, Worm",
    "Kitchen appliance": (
        "Blender, Coffeemaker, Dishwasher, Food processor, Microwave oven, Mixer, Oven, Pressure cooker, "
        "Refrigerator, Slow cooker, Waffle iron"
    ),
    "Kitchen utensil": (
        "Bottle opener, Can opener, Chopsticks, Cutting board, Drinking straw, Fork, Knife, Ladle, "
        "Measuring cup, Pizza cutter, Spatula, Spoon, Whisk"
    ),
    "Kitchenware": "Frying pan, Kitchen appliance, Kitchen utensil, Spice rack, Tableware, Wok",
    "Land vehicle": (
        "Ambulance, Bicycle, Bus, Car, Cart, Golf cart, Motorcycle, Segway, Snowmobile, Tank, Taxi, "
        "Train, Truck, Unicycle, Wheelchair"
    ),
    "Luggage and bags": "Backpack, Briefcase, Handbag, Suitcase",
    "Mammal": (
        "Alpaca, Antelope, Armadillo, Bat, Bull, Camel, Carnivore, Cattle, Deer, Elephant, Giraffe, Goat, "
        "Hamster, Hedgehog, Hippopotamus, Horse, Kangaroo, Koala, Marine mammal, Monkey, Mouse, Mule, "
        "Pig, Porcupine, Rabbit, Rhinoceros, Sheep, Skunk, Squirrel, Zebra"
    ),
    "Marine invertebrates": "Crab, Isopod, Jellyfish, Lobster, Shrimp, Squid, Starfish",
    "Marine mammal": "Dolphin, Harbor seal, Sea lion, Whale",
    "Medical equipment": "Band-aid, Stethoscope, Stretcher, Syringe",
    "Moths and butterflies": "Butterfly, Caterpillar",
    "Musical instrument": (
        "Accordion, Banjo, Cello, Chime, Drum, Flute, Guitar, Harmonica, Harp, Harpsichord, Horn, "
        "Maracas, Musical keyboard, Oboe, Organ, Piano, Saxophone, Trombone, Trumpet, Violin"
    ),
    "Office supplies": (
        "Adhesive tape, Box, Calculator, Envelope, Eraser, Fax, Paper cutter, Pen, Pencil case, Pencil "
        "sharpener, Plastic bag, Poster, Ring binder, Scissors, Stapler, Toilet paper, Whiteboard"
    ),
    "Pastry": "Croissant, Doughnut, Tart",
    "Person": "Boy, Girl, Man, Woman",
    "Personal care": "Cream, Crutch, Diaper, Glasses, Goggles, Sunglasses, Toothbrush, Wheelchair",
    "Plant": "Flower, Houseplant, Tree",
    "Plumbing fixture": "Bathtub, Bidet, Shower, Sink, Tap, Toilet",
    "Racket": "Table tennis racket, Tennis racket",
    "Reptile": "Crocodile, Dinosaur, Frog, Lizard, Snake, Turtle",
    "Sandwich": "Hamburger, Submarine sandwich",
    "Sculpture": "Bronze sculpture, Bust, Snowman",
    "Seafood": "Shellfish, Squid",
    "Shellfish": "Crab, Lobster, Oyster, Shrimp",
    "Skirt": "Miniskirt",
    "Snack": "Cookie, Popcorn, Pretzel",
    "Sports equipment": (
        "Balance beam, Ball, Baseball bat, Baseball glove, Bicycle, Billiard table, Bow and arrow, "
        "Bowling equipment, Dumbbell, Flying disc, Golf ball, Helmet, Hiking equipment, Horizontal bar, "
        "Indoor rower, Lifejacket, Paddle, Parachute, Punching bag, Racket, Roller skates, Scoreboard, "
        "Skateboard, Ski, Snowboard, Stationary bicycle, Surfboard, Training bench, Treadmill"
    ),
    "Squash": "Pumpkin, Zucchini",
    "Table": "Coffee table, Kitchen & dining room table",
    "Tableware": (
        "Bottle, Bowl, Cake stand, Chopsticks, Cocktail shaker, Coffee cup, Fork, Jug, Kitchen knife, "
        "Mixing bowl, Mug, Pitcher, Plate, Platter, Salt and pepper shakers, Saucer, Serving tray, Spoon, "
        "Teapot, Wine glass"
    ),
    "Telephone": "Corded phone, Mobile phone",
    "Tool": (
        "Axe, Binoculars, Camera, Chainsaw, Chisel, Container, Drill, Flashlight, Grinder, Hammer, "
        "Kitchen utensil, Ladder, Nail, Ratchet, Ruler, Scale, Scissors, Screwdriver, Snowplow, "
        "Toothbrush, Torch, Tripod, Wrench"
    ),
    "Toy": "Balloon, Dice, Doll, Flying disc, Kite, Teddy bear",
    "Traffic sign": "Stop sign",
    "Tree": "Christmas tree, Maple, Palm tree, Willow",
    "Trousers": "Jeans",
    "Turtle": "Sea turtle, Tortoise",
    "Vegetable": (
        "Artichoke, Asparagus, Bell pepper, Broccoli, Cabbage, Carrot, Cucumber, Potato, Radish, Salad, "
        "Squash, Tomato, Winter melon"
    ),
    "Vehicle": "Aircraft, Land vehicle, Watercraft",
    "Watercraft": "Boat, Jet ski, Submarine",
    "Weapon": ("Axe, Bomb, Bow and arrow, Cannon, Dagger, Handgun, Knife, Missile, Rifle, Shotgun, Sword, Tank"),
}
