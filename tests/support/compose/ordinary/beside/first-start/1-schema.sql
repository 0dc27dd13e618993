CREATE TABLE seeded (word text);
INSERT INTO seeded VALUES ('works');
