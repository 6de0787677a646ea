"""Questions that an encyclopedia cannot answer, written for benchmarks/answerable.py.

In each list the even lines are fitted on and the odd ones tested on.
"""

FOREIGN = """\
Почему океан солёный?
Кто написал «Войну и мир»?
海はなぜ塩辛いのですか
ワクチンはどのように働きますか
为什么天空是蓝色的
太阳离地球有多远
¿Por qué es salado el mar?
¿Quién escribió Don Quijote de la Mancha?
Warum ist das Meer salzig?
Wie funktioniert eine Wärmepumpe?
Pourquoi la mer est-elle salée ?
Qui a construit la tour Eiffel et quand ?
لماذا البحر مالح؟
متى سقطت الإمبراطورية الرومانية؟
למה הים מלוח
מי כתב את התנך
समुद्र खारा क्यों है
भारत की राजधानी क्या है
Perché il cielo è azzurro?
Quando è caduto il muro di Berlino?
바다는 왜 짠가요
백신은 어떻게 작동하나요
Γιατί η θάλασσα είναι αλμυρή;
Πότε έγιναν οι πρώτοι Ολυμπιακοί αγώνες;
Waarom is de zee zout?
Hoe werkt een dieselmotor?
Dlaczego niebo jest niebieskie?
Kto odkrył rad i polon?
Miksi meri on suolaista?
Gökyüzü neden mavidir?""".splitlines()

NONSENSE = """\
blorptastic zizzlewump snarf
asdf qwer zxcv
What is the flibbertigibbet coefficient of a quonset snarfblatt?
12345 67890
why does the gromble fizzle when a wug is daxed
How many vorpins are in a standard trell?
lorem ipsum dolor sit amet
jjj kkk lll mmm
Who invented the spondulous wembler and why?
colourless green ideas sleep furiously why
how to quibblefrack a moonbeam sideways
What does glorbenheim taste like after the second splunge?
xkcd qwzx hunter2 foo bar baz
0x7f3a 0x11 deadbeef
tell me the blue of seven under Thursday
How heavy is the smell of the letter Q in zibbles?""".splitlines()

PRIVATE = """\
What did my aunt Gertrude cook for dinner yesterday?
How do I reset my Netgear router password?
how do I install the npm package left-pad
What time does my train leave tomorrow?
Where did I put my keys?
What is the wifi password of this hotel?
Can you book me a table for two tonight?
Who is calling me from this number?
What is my sister's phone number?
how much money is left in my bank account
Will it rain here this afternoon?
What did our teacher say about the homework on Monday?
Why did Sarah not reply to my message?
When is the next meeting with my boss?
What should I wear to Tom's wedding?
Which of my photos is the oldest?
How do I turn off notifications in the app?
What is the balance of my gift card?
Is the pizza place around the corner open now?
When does the library on Elm Street close today?
What is the name of my neighbour's dog?
what is the tracking number of my parcel
Did the plumber fix the sink in our kitchen?
How much does the used bike on the noticeboard cost?
Who won the match last night?
What did the president tweet this morning?
What is the share price of Acme right now?
Who is first in the queue outside?
How old is the man who sat next to me?
Which seat do I have on the flight to Oslo?""".splitlines()

FALSE_PRESUPPOSITION = """\
Why did Shakespeare set Hamlet in Japan?
When did the Roman Empire conquer Australia?
Why are narwhals able to fly?
How many moons does the Sun have?
who was the first king of the United States
when did Albert Einstein win the Super Bowl
Why is the Berlin Wall made of glass?
In which year did Napoleon land on the Moon?
How did the platypus cause the War of 1812?
why did Jane Austen write the canterbury tales
When was Gregor Mendel elected president of France?
who sold the mississippi river to coca cola
Why do prime numbers turn green when heated?
Who won the Melbourne Cup on a camel in Paris?
How long did the Beatles rule the Zhou dynasty?
Which dinosaur painted the Grand Canyon?
Why was the Statue of Liberty moved to Berlin?
When did photosynthesis become a Toyota model?
what language do hydrogen bonds speak
who was stalin's wife in the sound of music
How did John Hancock invent the bayonet?
why did zeus sign the neutrality acts
When did the Leaning Tower of Pisa win an Oscar?
How many goals did the Korean War score?
Why did the Minnesota Vikings discover Siberia?
what year did england join the confederate states
Who is the ambassador of the DNA to Kyoto?
When did the peach become a member of the European Commission?
how does testosterone print banknotes
Why did the Great Pyramid of Giza sink in the Ohio River?""".splitlines()

INVENTED_NAMES = """\
Velmora Quistane
Edrin Falkovar
Orbrecht
Sellumore
Karrowmoor
Castle Dunvarrick
Pelagius Vant
Thessaly Brookmire
Iskar Dolune
the Hallowquist Act
the Brindlewick Society
Norvendale
Ostrevia
Mirabel Tonkwright
Marnock Teal
Lake Quendory
Quorlan
the Zarthane Theorem""".splitlines()

FUTURE_YEARS = (2871, 3021, 2450, 2999, 4017, 2688)
